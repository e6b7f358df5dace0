// Evaluating behind the gap as the site's clients do it, with one Nix or several: channels and flakes, their names and what they move on to.

import assert from 'node:assert/strict';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type Medium, openSite, type Site } from './carry.ts';
import type { NixEnvironment } from './nix.ts';
import { nixferryCommand, repositoryRoot, runNixferry } from './nixferry.ts';
import { openPackageClient } from './package-client.ts';
import { openPackageCrossing, type PackageCrossing } from './package-crossing.ts';
import { writePinnedProject } from './pinned-project.ts';

export interface TestedNix {
  readonly whose: string;
  /** The root of the system that has it; undefined for this machine. */
  readonly chroot: () => Promise<string | undefined>;
  /** Whether it is the one that the connected side has: then their locks are alike. */
  readonly isOfThisMachine: boolean;
  /** Whether it knows lockable tarballs (2.17). */
  readonly locksTarballs: boolean;
  /** Whether it asks caches for what `fetchTarball` is to fetch (2.32). */
  readonly asksForHashes: boolean;
}

/** Everything is exported by the Nix of this machine; each of the others is that of a client. */
export function offlineEvaluationSuite(nixes: readonly TestedNix[]): void {
  suite('evaluation behind the gap', () => {
    const cleanUp = new AsyncDisposableStack();
    let crossing: PackageCrossing;

    before(async () => {
      crossing = cleanUp.use(await openPackageCrossing());
    });
    after(() => cleanUp.disposeAsync());

    const openClients = async (site: Site, stack: AsyncDisposableStack) => {
      const clients: { tested: TestedNix; nix: NixEnvironment; directory: string }[] = [];
      for (const tested of nixes) {
        const chroot = await tested.chroot();
        const { nix, directory } = stack.use(
          await openPackageClient({
            site,
            origin: crossing.origin,
            chroot,
            shared: [repositoryRoot],
          }),
        );
        clients.push({ tested, nix, directory });
      }
      return clients;
    };

    test('nix-channel works, moves on with the next shipment, and not back with an older one', async () => {
      const { set, connected } = crossing;
      const folder = path.join(set.internet.directory, 'channels/nixos-99.11');
      const hello = [...crossing.cache.paths].find((storePath) => storePath.endsWith('-hello-2.12')) ?? '';
      const list = 'printf "%s\\n" "$1" | xz > "$0"';
      await connected.run('/bin/sh', ['-euc', list, path.join(folder, 'store-paths.xz'), hello]);
      const base = ['--channels-base', `${set.internet.url}/channels`];
      await writeFile(path.join(folder, 'git-revision'), 'revision-1');
      const medium = await crossing.export('nix-channel', base, ['channel:nixos-99.11']);
      await using stack = new AsyncDisposableStack();
      const site = stack.use(await openSite(medium));
      const clients = await openClients(site, stack);
      const address = `${site.url}/channels/nixos-99.11`;
      for (const { nix } of clients) await nix.run('nix-channel', ['--add', address, 'nixos']);
      const assertAll = async (name: string, revision: string) => {
        for (const { nix, tested } of clients) assert.equal(await nameInChannel(nix), name, tested.whose);
        const { stdout } = await site.gap.run('curl', ['-sfL', `${address}/git-revision`]);
        assert.equal(stdout, revision);
      };
      await assertAll('hello-2.12', 'revision-1');

      await writeFile(path.join(folder, 'git-revision'), 'revision-2');
      await renew(crossing, path.join(folder, 'nixexprs.tar.xz'), 'J');
      await shipAgain(crossing, site, medium, ['channel:nixos-99.11', ...base]);
      await assertAll('hello-2.13', 'revision-2');
      await site.gap.run(nixferryCommand, ['import', site.inserted, '--mirror', site.mirror]);
      await assertAll('hello-2.13', 'revision-2');
      assert.equal(await site.gap.attemptsToLeave(), 0);
    });

    test('names of flakes are found, locked and built, and flake update moves on with the next shipment, not back', async () => {
      const { set, origin, connected } = crossing;
      const own = path.join(connected.directory, 'own-flake');
      await cp(origin.directory, own, { recursive: true });
      const root = [`path:${own}#report`, '--scope', 'reconfigure'];
      const medium = await crossing.export('flakes', [], root);
      await using stack = new AsyncDisposableStack();
      const site = stack.use(await openSite(medium));
      const clients = await openClients(site, stack);
      for (const { nix, directory, tested } of clients) {
        const project = await writeProject(directory, origin.system);
        assert.match(await buildIn(nix, project, origin.system), /-bash-5\.2$/, tested.whose);
        assert.equal(await nameIn(nix, project), 'hello-2.12', tested.whose);
        const lock = (await nix.run('cat', [path.join(project, 'flake.lock')])).stdout;
        assert.match(lock, new RegExp(tested.locksTarballs ? `"url": "${site.url}/sources/` : '"narHash": "sha256-'));
      }

      await renew(crossing, path.join(set.internet.directory, 'nixpkgs/archive/99.11.tar.gz'), 'z');
      await connected.run('nix', ['flake', 'update', '--option', 'tarball-ttl', '0'], { cwd: own });
      await shipAgain(crossing, site, medium, root);
      const assertMoved = async () => {
        for (const { nix, directory, tested } of clients) {
          const project = path.join(directory, 'project');
          assert.match(await nameIn(nix, project), /^hello-2\.1[23]$/);
          await nix.run('nix', ['flake', 'update', ...HAS_NETWORK], { cwd: project });
          assert.equal(await nameIn(nix, project), 'hello-2.13', tested.whose);
        }
      };
      await assertMoved();
      for (const { nix, directory, tested } of clients) {
        if (!tested.isOfThisMachine) continue;
        const nameBefore = await nameIn(nix, directory, 'report.name');
        await nix.run(nixferryCommand, ['relock', '--flake', directory]);
        assert.deepEqual(await lockIn(directory), await lockIn(own), tested.whose);
        assert.equal(await nameIn(nix, directory, 'report.name'), nameBefore);
        const again = await nix.run(nixferryCommand, ['relock', 'nixpkgs', '--flake', directory]);
        assert.match(again.stdout, /newest revision that was shipped: nixpkgs$/m);
      }
      await site.gap.run(nixferryCommand, ['import', site.inserted, '--mirror', site.mirror]);
      await assertMoved();
      assert.equal(await site.gap.attemptsToLeave(), 0);
    });

    test('a project with pinned tarballs is evaluated once prime has fetched them, and the garbage collector leaves them', async () => {
      const project = await writePinnedProject(crossing);
      const root = ['-f', path.join(project, 'default.nix'), '--scope', 'reconfigure'];
      await using stack = new AsyncDisposableStack();
      const site = stack.use(await openSite(await crossing.export('pinned', [], root)));
      for (const { nix, tested } of await openClients(site, stack)) {
        const folder = path.join(nix.directory, 'pinned');
        await cp(project, folder, { recursive: true });
        const build = ['--no-out-link', path.join(folder, 'default.nix'), ...HAS_NETWORK];
        const unprimed = await nix.run('nix-build', build, { exitCode: 'any' });
        assert.equal(unprimed.exitCode === 0, tested.asksForHashes, `${tested.whose}: ${unprimed.stderr}`);
        const { stdout } = await runNixferry(nix, ['prime']);
        assert.match(stdout, /^complete: /m, tested.whose);
        await nix.run('nix-collect-garbage');
        const [built = ''] = await nix.lines('nix-build', build);
        assert.match((await nix.run('cat', [built])).stdout, /^pinned 1\n.*-hello-2\.12/);
      }
      assert.equal(await site.gap.attemptsToLeave(), 0);
    });

    test('a project that was evaluated with what nix-channel had brought has that as a channel again, and is built', async () => {
      const { connected, origin } = crossing;
      await connected.run('nix-channel', ['--add', origin.channelUrl, 'nixos']);
      await connected.run('nix-channel', ['--update']);
      const channel = path.join(connected.env['HOME'] ?? '', '.nix-defexpr/channels/nixos');
      const file = path.join(origin.directory, 'default.nix');
      const root = ['-f', file, '-A', 'report', '-I', `nixpkgs=${channel}`, '--scope', 'reconfigure'];
      await using stack = new AsyncDisposableStack();
      const site = stack.use(await openSite(await crossing.export('search-path', [], root)));
      for (const { nix, directory, tested } of await openClients(site, stack)) {
        await nix.run('nix-channel', ['--add', `${site.url}/flakes/nixpkgs.tar.gz`, 'nixos']);
        await nix.run('nix-channel', ['--update', ...HAS_NETWORK]);
        const found = `nixpkgs=${path.join(nix.env['HOME'] ?? '', '.nix-defexpr/channels/nixos')}`;
        const build = [
          '--no-out-link',
          path.join(directory, 'default.nix'),
          '-A',
          'report',
          '-I',
          found,
          ...HAS_NETWORK,
        ];
        assert.match((await nix.run('nix-build', build)).stdout, /-report-1$/m, tested.whose);
      }
      assert.equal(await site.gap.attemptsToLeave(), 0);
    });
  });
}

/** With no network card but loopback, Nix up to 2.3x believes that fetching is useless; a real site has a LAN. */
const HAS_NETWORK = ['--option', 'substitute', 'true'];

/** What the channel calls hello now; asked anew, though Nix believes for a minute what it was told. */
async function nameInChannel(nix: NixEnvironment): Promise<string> {
  await nix.run('nix-channel', ['--update', '--option', 'tarball-ttl', '0']);
  const { stdout } = await nix.run('/bin/sh', [
    '-euc',
    `nix-instantiate --eval -I nixos="$(readlink -f "$HOME/.nix-defexpr/channels/nixos")" -E '(import <nixos> { }).hello.name'`,
  ]);
  return JSON.parse(stdout) as string;
}

/** A flake of a client's own, which asks the registry. */
async function writeProject(directory: string, system: string): Promise<string> {
  const project = path.join(directory, 'project');
  await mkdir(project);
  await writeFile(
    path.join(project, 'flake.nix'),
    `{
  inputs.nixpkgs.url = "nixpkgs";
  outputs = { self, nixpkgs }: {
    packages.${system}.default = nixpkgs.legacyPackages.${system}.bash;
    lib.name = nixpkgs.legacyPackages.${system}.hello.name;
  };
}
`,
  );
  return project;
}

async function buildIn(nix: NixEnvironment, project: string, system: string): Promise<string> {
  const args = ['build', '--json', '--no-link', `path:${project}#packages.${system}.default`, ...HAS_NETWORK];
  const [built] = JSON.parse((await nix.run('nix', args)).stdout) as { outputs: { out: string } }[];
  return built?.outputs.out ?? '';
}

async function nameIn(nix: NixEnvironment, project: string, attribute = 'lib.name'): Promise<string> {
  const args = ['eval', '--raw', `path:${project}#${attribute}`, ...HAS_NETWORK];
  return (await nix.run('nix', args)).stdout.trim();
}

/** Another version of hello in a tarball of nixpkgs, modified later. */
async function renew({ connected }: PackageCrossing, tarball: string, compression: 'z' | 'J'): Promise<void> {
  const script = `
    cd "$(dirname "$0")"; mkdir next; tar -xf "$0" -C next; cd next
    sed -i 's|hello = package "hello" { };|hello = package "hello" { } // { name = "hello-2.13"; };|' */pkgs/packages.nix
    grep -q hello-2.13 */pkgs/packages.nix
    tar -c${compression}f "$0" --mtime=@2000000000 *; cd ..; rm -r next`;
  await connected.run('/bin/sh', ['-euc', script, tarball]);
}

/** Exports from the same mirror and imports into the same site. */
async function shipAgain(
  crossing: PackageCrossing,
  site: Site,
  medium: Medium,
  root: readonly string[],
): Promise<void> {
  const later = path.join(path.dirname(medium.directory), 'later');
  const args = ['--mirror', medium.mirror, '--no-tools', ...crossing.trust, '--site', 'lab', '--to', later];
  await crossing.connected.run(nixferryCommand, ['export', ...root, ...args], { timeoutMs: 300_000 });
  await site.gap.run(nixferryCommand, ['import', later, '--mirror', site.mirror]);
}

async function lockIn(folder: string): Promise<unknown> {
  return JSON.parse(await readFile(path.join(folder, 'flake.lock'), 'utf8'));
}
