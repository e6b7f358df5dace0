// Repositories of git behind the gap, as the site's clients use them: `fetchGit`, flake inputs, git itself, with one Nix or several.

import assert from 'node:assert/strict';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { exportRootToMedium, type Medium, openSite, type Site, STRANGERS_KEY } from './carry.ts';
import { answerGit } from './git-server.ts';
import { createNixEnvironment, type NixEnvironment } from './nix.ts';
import { nixferryCommand } from './nixferry.ts';
import type { TestedNix } from './offline-evaluation-suite.ts';
import { type StaticServer, serveDirectory } from './static-server.ts';

/** As people know it; a server on loopback plays the host. */
const HOST = 'http://git.example.org/team/';

/** With no network card but loopback, Nix up to 2.3x believes that fetching is useless; a real site has a LAN. */
const HAS_NETWORK = ['--option', 'substitute', 'true', '--option', 'tarball-ttl', '0'];

const REHEARSING = { timeoutMs: 300_000 };

export function repositoriesSuite(nixes: readonly Pick<TestedNix, 'whose' | 'chroot'>[]): void {
  suite('repositories of git behind the gap', () => {
    const cleanUp = new AsyncDisposableStack();
    let connected: NixEnvironment;
    let internet: Internet;

    before(async () => {
      connected = cleanUp.use(await createNixEnvironment());
      internet = cleanUp.use(await openInternet(connected));
    });
    after(() => cleanUp.disposeAsync());

    test('are fetched from, move on with the next shipment and not back with an older one, and git clones them', async () => {
      const first = await internet.commit('lib', 'one');
      await internet.commit('lib', 'two');
      await internet.commit('tools', 'hammer');
      const project = path.join(connected.directory, 'project');
      await writeProject(project, first);
      // The one is found by evaluating, the other is named.
      const root = ['-f', path.join(project, 'default.nix'), `git+${HOST}tools.git`];
      const medium = await exportAll(connected, internet, root);
      const { stdout } = await connected.run(nixferryCommand, ['rehearse', '--mirror', medium.mirror], REHEARSING);
      assert.match(stdout, /^complete/m);
      await using stack = new AsyncDisposableStack();
      const site = stack.use(await openSite(medium));
      const clients: Client[] = [];
      for (const { whose, chroot } of nixes)
        clients.push(stack.use(await openClient(site, project, whose, await chroot())));
      for (const client of clients) {
        assert.equal(await client.build(), 'two one', client.whose);
        assert.equal(await client.lockFlake(), 'two hammer', client.whose);
      }
      const [anyone] = clients;
      assert.ok(anyone !== undefined);
      const clone = path.join(anyone.nix.directory, 'clone');
      await anyone.git('clone', '--quiet', `${HOST}lib`, clone);
      assert.equal(await readFile(path.join(clone, 'word'), 'utf8'), 'two');
      const pushed = await anyone.nix.run('git', ['-C', clone, 'push', 'origin', 'HEAD:evil'], {
        env: anyone.env,
        exitCode: 'any',
      });
      assert.notEqual(pushed.exitCode, 0);

      await internet.commit('lib', 'three');
      const later = path.join(path.dirname(medium.directory), 'later');
      await exportAgain(connected, internet, medium, root, later);
      await site.gap.run(nixferryCommand, ['import', later, '--mirror', site.mirror]);
      const assertMoved = async () => {
        for (const client of clients) {
          assert.equal(await client.build(), 'three one', client.whose);
          assert.equal(await client.flakeWords(), 'two hammer', client.whose);
          assert.equal(await client.updateFlake(), 'three hammer', client.whose);
        }
        await anyone.git('-C', clone, 'pull', '--quiet');
        assert.equal(await readFile(path.join(clone, 'word'), 'utf8'), 'three');
      };
      await assertMoved();
      await site.gap.run(nixferryCommand, ['import', site.inserted, '--mirror', site.mirror]);
      await writeProjectAgain(clients, first);
      await assertMoved();

      // A site that gets the later one first: the shipments do not build on one another, for no receipt has come back.
      const other = path.join(site.gap.directory, 'other-mirror');
      const trust = ['--trust', medium.senderKey, '--mirror', other];
      await site.gap.run(nixferryCommand, ['import', later, ...trust]);
      const refs = path.join(other, 'git/git.example.org/team/lib.git/info/refs');
      const newest = await readFile(refs, 'utf8');
      await site.gap.run(nixferryCommand, ['import', site.inserted, ...trust]);
      assert.equal(await readFile(refs, 'utf8'), newest);
      assert.equal(await site.gap.attemptsToLeave(), 0);
    });
  });
}

interface Internet extends AsyncDisposable {
  /** Of the upstream, which has nothing. */
  readonly url: string;
  /** Makes a commit in which `word` is this; resolves to its id. */
  commit(repository: string, word: string): Promise<string>;
}

async function openInternet(connected: NixEnvironment): Promise<Internet> {
  const directory = path.join(connected.directory, 'internet');
  await mkdir(path.join(directory, 'git'), { recursive: true });
  await writeFile(path.join(directory, 'nix-cache-info'), 'StoreDir: /nix/store\n');
  const server: StaticServer = await serveDirectory(directory, answerGit);
  await writeFile(
    path.join(connected.directory, 'home/.gitconfig'),
    `[user]\n\tname = Anna\n\temail = anna@example.org\n[init]\n\tdefaultBranch = master\n[url "${server.url}/git/"]\n\tinsteadOf = ${HOST}\n`,
  );
  const script = `
    work=$0/work-$1 bare=$0/git/$1.git
    if ! [ -e "$work" ]; then git init -q "$work"; git init -q --bare "$bare"; fi
    cd "$work"
    printf %s "$2" > word
    echo '{ outputs = _: { word = builtins.readFile ./word; }; }' > flake.nix
    git add .; git commit -qm "$2"; git push -q "$bare" HEAD:master; git rev-parse HEAD`;
  return {
    url: server.url,
    commit: async (repository, word) => {
      const { stdout } = await connected.run('/bin/sh', ['-euc', script, directory, repository, word]);
      return stdout.trim();
    },
    [Symbol.asyncDispose]: server[Symbol.asyncDispose],
  };
}

/** Reads a branch, and the first commit of it; and a flake that takes both repositories. */
async function writeProject(folder: string, first: string): Promise<void> {
  await mkdir(path.join(folder, 'flake'), { recursive: true });
  await writeFile(
    path.join(folder, 'default.nix'),
    `let
  moving = builtins.fetchGit { url = "${HOST}lib.git"; ref = "master"; };
  fixed = builtins.fetchGit { url = "${HOST}lib.git"; rev = "${first}"; };
  words = "\${builtins.readFile (moving + "/word")} \${builtins.readFile (fixed + "/word")}";
in derivation {
  name = "words";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  args = [ "-c" "printf %s '\${words}' > $out" ];
}
`,
  );
  await writeFile(
    path.join(folder, 'flake/flake.nix'),
    `{
  inputs.lib.url = "git+${HOST}lib.git";
  inputs.tools.url = "git+${HOST}tools.git";
  outputs = { lib, tools, ... }: { words = "\${lib.word} \${tools.word}"; };
}
`,
  );
}

/** The flake as it was before it was updated. */
async function writeProjectAgain(clients: readonly Client[], first: string): Promise<void> {
  for (const { project, nix } of clients) {
    await writeProject(project, first);
    await nix.run('cp', [path.join(project, 'flake/first.lock'), path.join(project, 'flake/flake.lock')]);
  }
}

async function exportAll(nix: NixEnvironment, { url }: Internet, root: readonly string[]): Promise<Medium> {
  const directory = path.join(nix.directory, 'crossing');
  await mkdir(directory);
  const flags = ['--scope', 'reconfigure'];
  return exportRootToMedium({ nix, root, url, publicKey: STRANGERS_KEY, site: 'lab', directory, flags });
}

async function exportAgain(
  nix: NixEnvironment,
  { url }: Internet,
  { mirror }: Medium,
  root: readonly string[],
  to: string,
): Promise<void> {
  const where = ['--upstream', url, '--mirror', mirror, '--site', 'lab', '--to', to, '--no-tools'];
  // Nix remembers for an hour what a branch was.
  await nix.run('rm', ['-rf', path.join(nix.directory, 'home/.cache')]);
  await nix.run(nixferryCommand, ['export', ...root, '--scope', 'reconfigure', ...where], { timeoutMs: 300_000 });
}

interface Client extends AsyncDisposable {
  readonly whose: string;
  readonly nix: NixEnvironment;
  readonly env: Readonly<Record<string, string>>;
  readonly project: string;
  git(...args: string[]): Promise<unknown>;
  /** The words that building the project gives. */
  build(): Promise<string>;
  lockFlake(): Promise<string>;
  flakeWords(): Promise<string>;
  updateFlake(): Promise<string>;
}

/** A client that is configured as `nixferry client-config` says, git included. */
async function openClient(site: Site, origin: string, whose: string, chroot: string | undefined): Promise<Client> {
  const flags = ['--format', 'nix-conf', '--flakes', '--url', site.url, '--mirror', site.mirror];
  const { stdout: config } = await site.gap.run(nixferryCommand, ['client-config', ...flags]);
  const nix = await createNixEnvironment({ network: site.gap.namespace, chroot, config: config.split('\n') });
  // Git asks a name server who its user may be, unless it is told.
  await writeFile(path.join(nix.directory, 'home/.gitconfig'), '[user]\n\tname = Otto\n\temail = otto@lab\n');
  const env = { ...nix.env, GIT_CONFIG_SYSTEM: path.join(nix.directory, 'etc/gitconfig') };
  const commands = [...config.matchAll(/^# {3}(git config .*)$/gm)].map(([, command = '']) => command);
  assert.ok(commands.length > 0, config);
  await nix.run('/bin/sh', ['-euc', commands.join('\n')], { env });
  const project = path.join(nix.directory, 'project');
  await cp(origin, project, { recursive: true });
  const flake = path.join(project, 'flake');
  const flakeWords = async () => {
    const { stdout } = await nix.run('nix', ['eval', '--raw', `path:${flake}#words`, ...HAS_NETWORK], { env });
    return stdout.trim();
  };
  return {
    whose,
    nix,
    env,
    project,
    git: (...args) => nix.run('git', args, { env }),
    build: async () => {
      const args = ['--no-out-link', path.join(project, 'default.nix'), ...HAS_NETWORK];
      const [built = ''] = await nix.lines('nix-build', args, { env });
      return (await nix.run('cat', [built])).stdout;
    },
    lockFlake: async () => {
      await nix.run('nix', ['flake', 'lock', `path:${flake}`, ...HAS_NETWORK], { env });
      await nix.run('cp', [path.join(flake, 'flake.lock'), path.join(flake, 'first.lock')]);
      return flakeWords();
    },
    flakeWords,
    updateFlake: async () => {
      await nix.run('nix', ['flake', 'update', ...HAS_NETWORK], { env, cwd: flake });
      return flakeWords();
    },
    [Symbol.asyncDispose]: nix[Symbol.asyncDispose],
  };
}
