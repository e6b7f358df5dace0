// A flake with inputs of every kind, most of them on GitHub, with one Nix or several: it is locked outside, evaluated and built from its lock behind the gap,
// moved there by `relock`, and what that wrote is as good outside, where GitHub answers.

import assert from 'node:assert/strict';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { openSite, type Site } from './carry.ts';
import { readTree, writeTree } from './file-tree.ts';
import { makeGitHub, type PlayedGitHub } from './github.ts';
import { createNixEnvironment, type NixEnvironment } from './nix.ts';
import { nixferryCommand, repositoryRoot, runNixferry } from './nixferry.ts';
import { openPackageClient } from './package-client.ts';
import { openPackageCrossing, type PackageCrossing } from './package-crossing.ts';

export interface GitHubNix {
  readonly whose: string;
  /** The root of the system that has it; undefined for this machine. */
  readonly chroot: () => Promise<string | undefined>;
}

/** Everything is exported by the Nix of this machine; each of the others is that of a client, which has locked its own flake. */
export function githubSuite(nixes: readonly GitHubNix[]): void {
  suite('a flake with inputs on GitHub', { timeout: 900_000 }, () => {
    const cleanUp = new AsyncDisposableStack();
    let crossing: PackageCrossing;
    let github: PlayedGitHub;

    before(async () => {
      crossing = cleanUp.use(await openPackageCrossing());
      const { connected } = crossing;
      const directory = path.join(connected.directory, 'github');
      await mkdir(directory);
      github = await makeGitHub(directory);
      await github.showTo(connected);
      cleanUp.use(await github.startIn(connected));
    });
    after(() => cleanUp.disposeAsync());

    test('is built from its lock, moved by relock, and its lock is then the one that flake update makes outside', async () => {
      const { connected, set } = crossing;
      const first = await pushFirst(crossing, github);
      const own = path.join(connected.directory, 'github-flake');
      await writeFlake(own, crossing);
      const root = [`path:${own}#report`, '--scope', 'reconfigure'];
      const medium = await crossing.export('github-flake-export', [], root);
      await using stack = new AsyncDisposableStack();
      const site = stack.use(await openSite(medium));
      const internet = { directory: set.internet.directory, port: Number(new URL(set.internet.url).port) };

      const flakes: TestedFlake[] = [];
      {
        await using origin = new AsyncDisposableStack();
        origin.use(await github.startIn(site.gap, internet));
        for (const tested of nixes) {
          const chroot = await tested.chroot();
          const directory = path.join(site.gap.directory, `flake-${flakes.length}`);
          await writeFlake(directory, crossing);
          await using outside = await openOutside(site, github, chroot, directory);
          await outside.nix('flake', 'lock');
          flakes.push({ ...tested, chroot, directory, system: crossing.origin.system });
        }
      }
      for (const flake of flakes) {
        await using quiet = new AsyncDisposableStack();
        quiet.use(await expectNoAttempts(site, flake));
        await using inside = await openInside(site, crossing, flake);
        assert.equal(await inside.build(), 'one one one pinned hello-2.12', flake.whose);
      }

      const second = await pushSecond(crossing, github);
      await connected.run('nix', ['flake', 'update', '--option', 'tarball-ttl', '0'], { cwd: own });
      const later = path.join(connected.directory, 'later');
      const args = ['--mirror', medium.mirror, '--no-tools', ...crossing.trust, '--site', 'lab', '--to', later];
      await connected.run(nixferryCommand, ['export', ...root, ...args], { timeoutMs: 300_000 });
      await site.gap.run(nixferryCommand, ['import', later, '--mirror', site.mirror]);

      for (const flake of flakes) {
        const unmoved = `${flake.directory}-before`;
        await cp(flake.directory, unmoved, { recursive: true });
        {
          await using quiet = new AsyncDisposableStack();
          quiet.use(await expectNoAttempts(site, flake));
          await using inside = await openInside(site, crossing, flake);
          const said = await inside.relock();
          for (const name of ['nixpkgs', 'words', 'tools', 'tools/words'])
            assert.match(said, new RegExp(`^${name}: [0-9a-f]{16} → [0-9a-f]{16}$`, 'm'), flake.whose);
          assert.ok(said.includes(`nixpkgs: ${first.nixpkgs.slice(0, 16)} → ${second.nixpkgs.slice(0, 16)}`), said);
          assert.match(said, /newest revision that was shipped: .*dotfiles/);
          assert.equal(await inside.lockNew(), 'two', flake.whose);
        }
        const relocked = await readFile(path.join(flake.directory, 'flake.lock'), 'utf8');
        {
          await using origin = await github.startIn(site.gap, internet);
          await using outside = await openOutside(site, github, flake.chroot, flake.directory);
          assert.equal(await outside.eval(), 'two two one pinned hello-2.13', flake.whose);
          const { stdout } = await origin.stop();
          assert.match(stdout, new RegExp(`asked \\S+/acme/nixpkgs/(?:archive|tarball)/${second.nixpkgs}`));
        }
        {
          await using origin = new AsyncDisposableStack();
          origin.use(await github.startIn(site.gap, internet));
          await using outside = await openOutside(site, github, flake.chroot, unmoved);
          await outside.nix('flake', 'update');
          assert.equal(await readFile(path.join(unmoved, 'flake.lock'), 'utf8'), relocked, flake.whose);
        }
        {
          await using quiet = new AsyncDisposableStack();
          quiet.use(await expectNoAttempts(site, flake));
          await using inside = await openInside(site, crossing, flake);
          assert.equal(await inside.build(), 'two two one pinned hello-2.13', flake.whose);
          assert.equal(await readFile(path.join(flake.directory, 'flake.lock'), 'utf8'), relocked, flake.whose);
        }
      }
    });
  });
}

interface TestedFlake {
  readonly whose: string;
  readonly chroot: string | undefined;
  readonly directory: string;
  readonly system: string;
}

/** Fails at the end if anything tried to leave meanwhile; whoever sees GitHub may also look for others. */
async function expectNoAttempts({ gap }: Site, { whose }: TestedFlake): Promise<AsyncDisposable> {
  const attempts = await gap.attemptsToLeave();
  return { [Symbol.asyncDispose]: async () => assert.equal(await gap.attemptsToLeave(), attempts, whose) };
}

/** With no network card but loopback, Nix up to 2.3x believes that fetching is useless. */
const HAS_NETWORK = ['--option', 'substitute', 'true'];

/** A machine that sees GitHub and the rest of the internet, and no binary cache, with nothing fetched before. */
async function openOutside(site: Site, github: PlayedGitHub, chroot: string | undefined, directory: string) {
  const shared = [site.gap.directory];
  const machine = await createNixEnvironment({ network: site.gap.namespace, chroot, shared });
  await github.showTo(machine);
  // Nix of before 2.26 finds a folder beside the flake only where its store has it.
  await machine.run('nix', ['store', 'add-path', '--name', 'source', path.join(directory, 'common')]);
  // Nix up to 2.3x gives a machine without a network card one second to connect.
  const patient = [...HAS_NETWORK, '--option', 'connect-timeout', '120'];
  const nix = (...args: string[]) => machine.run('nix', [...args, ...patient], { cwd: directory });
  return {
    nix,
    eval: async () => (await nix('eval', '--raw', '--no-update-lock-file', `path:${directory}#words`)).stdout,
    [Symbol.asyncDispose]: machine[Symbol.asyncDispose],
  };
}

/** A client of the site, with nothing fetched before. */
async function openInside(site: Site, { origin }: PackageCrossing, { chroot, directory, system }: TestedFlake) {
  const shared = [site.gap.directory, repositoryRoot];
  const { nix, ...client } = await openPackageClient({ site, origin, chroot, shared });
  return {
    build: () => buildReport(nix, directory, system),
    relock: async () => (await runNixferry(nix, ['relock', '--flake', directory])).stdout,
    /** A flake that was never locked, and takes from GitHub what another root has brought. */
    lockNew: async () => {
      const folder = path.join(nix.directory, 'new-flake');
      await writeTree(folder, { 'flake.nix': wordsFlake('new') });
      await runNixferry(nix, ['relock', '--flake', folder]);
      const args = ['eval', '--raw', '--no-update-lock-file', `path:${folder}#word`, ...HAS_NETWORK];
      return (await nix.run('nix', args)).stdout;
    },
    [Symbol.asyncDispose]: client[Symbol.asyncDispose],
  };
}

async function buildReport(nix: NixEnvironment, directory: string, system: string): Promise<string> {
  const args = ['build', '--json', '--no-link', '--no-update-lock-file', `path:${directory}#packages.${system}.report`];
  const [built] = JSON.parse((await nix.run('nix', [...args, ...HAS_NETWORK])).stdout) as {
    outputs: { out: string };
  }[];
  return (await readFile(nix.physical(built?.outputs.out ?? ''), 'utf8')).trim();
}

const BRANCH = 'nixos-99.11';

/** `pinned` has a lock of its own, `tools` has none. */
async function pushFirst({ connected, set }: PackageCrossing, { push }: PlayedGitHub): Promise<{ nixpkgs: string }> {
  const main = { branch: 'main', day: 1 };
  const nixpkgs = await push('acme/nixpkgs', await readTree(set.nixpkgs), { branch: BRANCH, day: 1 });
  await push('acme/words', { word: 'one' }, main);
  const pinned = path.join(connected.directory, 'pinned');
  await writeTree(pinned, { 'flake.nix': wordsFlake('pinned') });
  await connected.run('nix', ['flake', 'lock', `path:${pinned}`]);
  await push('acme/pinned', await readTree(pinned), main);
  await push('acme/tools', { 'flake.nix': wordsFlake('tools 1') }, main);
  return { nixpkgs };
}

async function pushSecond({ set }: PackageCrossing, { push }: PlayedGitHub): Promise<{ nixpkgs: string }> {
  const main = { branch: 'main', day: 2 };
  await push('acme/words', { word: 'two' }, main);
  await push('acme/tools', { 'flake.nix': wordsFlake('tools 2') }, main);
  const tree = await readTree(set.nixpkgs);
  const packages = String(tree['pkgs/packages.nix']);
  const renewed = packages.replace(
    'hello = package "hello" { };',
    'hello = package "hello" { } // { name = "hello-2.13"; };',
  );
  assert.notEqual(renewed, packages);
  const nixpkgs = await push('acme/nixpkgs', { ...tree, 'pkgs/packages.nix': renewed }, { branch: BRANCH, day: 2 });
  return { nixpkgs };
}

function wordsFlake(description: string): string {
  return `{
  description = "${description}";
  inputs.nixpkgs.url = "github:acme/nixpkgs/${BRANCH}";
  inputs.words = { url = "github:acme/words"; flake = false; };
  outputs = { self, nixpkgs, words }: { word = builtins.readFile "\${words}/word"; };
}
`;
}

async function writeFlake(directory: string, { set, origin }: PackageCrossing): Promise<void> {
  await mkdir(path.join(directory, 'common'), { recursive: true });
  await writeFile(path.join(directory, 'common/flake.nix'), '{ outputs = { self }: { separator = " "; }; }\n');
  await writeFile(
    path.join(directory, 'flake.nix'),
    `{
  inputs = {
    nixpkgs.url = "github:acme/nixpkgs/${BRANCH}";
    words = { url = "github:acme/words"; flake = false; };
    tools.url = "github:acme/tools";
    tools.inputs.nixpkgs.follows = "nixpkgs";
    pinned.url = "github:acme/pinned";
    pinned.inputs.nixpkgs.follows = "nixpkgs";
    dotfiles = { url = "${set.internet.url}/dotfiles.tar.gz"; flake = false; };
    hardware.url = "git+${set.internet.url}/git/hardware.git?ref=main";
    hardware.inputs.nixpkgs.follows = "nixpkgs";
    common.url = "path:./common";
  };
  outputs = { self, nixpkgs, words, tools, pinned, dotfiles, hardware, common }:
    let pkgs = nixpkgs.legacyPackages.${origin.system};
    in {
      words = builtins.concatStringsSep common.separator [
        (builtins.readFile "\${words}/word")
        tools.word
        pinned.word
        (if hardware ? nixosModules && builtins.pathExists "\${dotfiles}/motd" then "pinned" else "lost")
        pkgs.hello.name
      ];
      packages.${origin.system}.report = pkgs.stdenv.mkDerivation {
        name = "report";
        buildCommand = "echo '\${self.words}' > $out; test -d \${pkgs.nano}";
      };
    };
}
`,
  );
}
