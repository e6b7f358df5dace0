// Sources that no cache has: collected from where they come from, though that fails in every way, and carried over the gap, where
// real Nix builds everything from them and from nothing else.

import assert from 'node:assert/strict';
import { cp, mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { EXIT } from '../src/base/errors.ts';
import type { Site } from './support/carry.ts';
import { createNixEnvironment } from './support/nix.ts';
import { nixferryCommand, repositoryRoot } from './support/nixferry.ts';
import { openNoNix } from './support/no-nix.ts';
import { readPaths, sourcesClientSuite } from './support/sources-client-suite.ts';
import { openSourcesCrossing, type SourcesCrossing } from './support/sources-crossing.ts';

/** Fetched in every way that there is; see package-set.ts. */
const PACKAGES = ['hello', 'fish', 'openssl', 'pcre2', 'zstd', 'ripgrep', 'gum', 'tldr', 'less'];

suite('sources that no cache has', () => {
  const cleanUp = new AsyncDisposableStack();
  let crossing: SourcesCrossing;

  before(async () => {
    crossing = cleanUp.use(await openSourcesCrossing());
  });
  after(() => cleanUp.disposeAsync());

  /** Where the package set says that a source is. */
  const addressOf = (name: string): string => {
    const source = crossing.set.sources[name];
    assert.ok(source !== undefined);
    return source.path;
  };

  const requestsFor = (pattern: RegExp) => crossing.internet.requests.filter(({ path: asked }) => pattern.test(asked));

  test('collect takes what it can through a bad internet, and says of the rest where it looked, who wants it and what it blocks', async () => {
    const { internet } = crossing;
    const quoted = (name: string) => new RegExp(addressOf(name).replaceAll(/[.+]/g, String.raw`\$&`));
    await cp(
      path.join(crossing.set.internet.directory, addressOf('hello')),
      path.join(crossing.set.internet.directory, 'moved'),
    );
    internet.misbehave(
      { path: quoted('hello'), fault: { kind: 'redirect', location: '/moved', status: 301 } },
      { path: quoted('less'), fault: { kind: 'status', status: 410 } },
      // The first answer is wrong, the builder gets the next one.
      { path: quoted('openssl'), times: 1, fault: { kind: 'corrupt', atByte: 200 } },
      { path: quoted('zstd'), times: 1, fault: { kind: 'truncate', afterBytes: 100 } },
      { path: quoted('readline'), times: 2, fault: { kind: 'break', afterBytes: 100 } },
      { path: quoted('ncurses'), times: 1, fault: { kind: 'status', status: 503 } },
      { path: quoted('bootstrap-tools'), times: 1, fault: { kind: 'break', afterBytes: 50_000 } },
    );
    const { stdout, stderr } = await crossing.collect(PACKAGES, [], EXIT.upstreamIncomplete);
    assert.match(stdout, /^sources +\d+ +no cache has them/m);
    const said = `${stdout}${stderr}`;
    assert.match(said, /1 path of sources that could not be had/);
    const hole = said.slice(said.indexOf('could not be had'));
    assert.match(hole, /-less-661\.tar\.gz\n/);
    assert.ok(hole.includes(`${internet.url}${addressOf('less')}: the server answers 410`), hole);
    assert.match(hole, /nix-store --realise \/nix\/store\/.*-less-661\.tar\.gz\.drv: /);
    assert.match(hole, /wanted by \/nix\/store\/.*-less-661\.drv/);
    assert.match(hole, /without it, not complete: less$/m);
  });

  test('collect fetches nothing twice, and takes what is missing from a folder, whatever it is called there', async () => {
    const { internet } = crossing;
    internet.behave();
    const folder = path.join(crossing.nix.directory, 'downloads');
    await mkdir(folder);
    await cp(path.join(crossing.set.internet.directory, addressOf('less')), path.join(folder, 'some file'));
    const asked = internet.requests.length;
    const { stdout } = await crossing.collect(PACKAGES, ['--sources-from', folder]);
    assert.match(stdout, /complete: 1 path fetched/);
    assert.equal(internet.requests.length, asked);
  });

  test('collect gives every source the CA that its derivation declares', async () => {
    const infos = await readPaths(crossing.mirror);
    for (const { storePath, contentAddress } of infos) assert.ok(contentAddress !== undefined, storePath);
    const named = (name: string) => infos.find(({ storePath }) => storePath.endsWith(`-${name}`))?.contentAddress ?? '';
    assert.match(named('busybox'), /^fixed:r:sha256:/);
    assert.match(named('bootstrap-tools'), /^fixed:r:sha256:/);
    assert.match(named('pcre2-10.44.tar.gz'), /^fixed:sha512:/);
    assert.match(named('openssl-3.3.tar.gz'), /^fixed:sha256:/);
  });

  test('collect finds a file by its hash on a tarballs mirror before it asks the address', async () => {
    const { hash } = crossing.set.sources['cowsay'] ?? {};
    assert.ok(hash !== undefined);
    const base16 = Buffer.from(hash.slice('sha256-'.length), 'base64').toString('hex');
    const place = path.join(crossing.set.internet.directory, 'tarballs/sha256');
    await mkdir(place, { recursive: true });
    await cp(path.join(crossing.set.internet.directory, addressOf('cowsay')), path.join(place, base16));
    await crossing.collect(['cowsay'], ['--tarballs-mirror', `${crossing.internet.url}/tarballs`]);
    assert.equal(requestsFor(new RegExp(base16)).length, 1);
    assert.equal(requestsFor(/cowsay/).length, 0);
  });

  test('collect goes on where it was killed, and fetches nothing twice', async () => {
    const { internet, nix, env } = crossing;
    const mirror = path.join(nix.directory, 'killed-mirror');
    const args = crossing.collectArguments(['git', 'curl', 'nginx'], mirror);
    // What Nix itself has fetched for its builders must come from the internet again.
    await nix.run('nix-store', ['--gc', '--quiet']);
    const from = internet.requests.length;
    // Not by way of the launcher: it would be the launcher that is killed.
    const killed = nix.start(process.execPath, [path.join(repositoryRoot, 'src/cli/main.ts'), ...args], { env });
    const ended = new AbortController();
    void killed.done.finally(() => ended.abort());
    while (!ended.signal.aborted && internet.requests.length < from + 12) await nextTurn();
    assert.equal((await killed.stop('SIGKILL')).signal, 'SIGKILL');
    const first = internet.requests.slice(from).map(({ path: asked }) => asked);
    await nix.run(nixferryCommand, args, { env, timeoutMs: 300_000 });
    const second = internet.requests.slice(from + first.length).map(({ path: asked }) => asked);
    assert.ok(second.length > 0);
    const twice = first.filter((asked) => second.includes(asked));
    // Of each host, four are under way at a time.
    assert.ok(twice.length <= 4, twice.join('\n'));
  });

  test('collect carries all sources of a package set, and evaluates nothing twice', async () => {
    const { nix, env, emptyUpstream, internet } = crossing;
    const mirror = path.join(nix.directory, 'all-sources');
    const flags = ['--sources', 'all', '-f', '<nixpkgs>', '--upstream', emptyUpstream, '--tarballs-mirror', 'none'];
    const collect = (command: string) => nix.run(nixferryCommand, [command, ...flags, '--mirror', mirror], { env });
    const planned = await collect('plan');
    assert.match(planned.stderr, /evaluate packages {2}\d+/);
    assert.match(planned.stderr, /1 package could not be evaluated: fromTable/);
    assert.match(planned.stdout, /^sources +\d+ +no cache has them/m);
    const { stdout, stderr } = await collect('collect');
    assert.match(stdout, /complete: /);
    assert.doesNotMatch(stderr, /evaluate packages/);
    const names = new Set((await readPaths(mirror)).map(({ storePath }) => storePath.slice('/nix/store/'.length + 33)));
    for (const [name, { version, path: place }] of Object.entries(crossing.set.sources)) {
      const file = place.endsWith('.git') || name === 'fish' ? 'source' : path.basename(place);
      const expected = name === 'busybox' || name === 'bootstrap-tools' ? name : file;
      assert.ok(names.has(expected), `${name} ${version}`);
    }
    for (const name of ['gum-0.14-go-modules', 'ripgrep-14.1-vendor']) assert.ok(names.has(name), name);
    // Not the packages, and no derivations.
    assert.ok(![...names].some((name) => name === 'hello-2.12' || name.endsWith('.drv')));
    const asked = internet.requests.length;
    assert.match((await collect('collect')).stdout, /complete: 0 paths fetched/);
    assert.equal(internet.requests.length, asked);
  });

  suite('carried over', () => {
    let site: Site;

    before(async () => {
      site = cleanUp.use(await crossing.openSite());
    });

    test('are built from a copy of the mirror over file://, too', async () => {
      const copy = path.join(site.gap.directory, 'copy');
      await cp(site.mirror, copy, { recursive: true });
      await rm(path.join(copy, '.nixferry'), { recursive: true });
      const [drv = ''] = await crossing.set.instantiate(['tldr']);
      const config = [`substituters = file://${copy}`, `trusted-public-keys = ${site.publicKey}`, 'substitute = true'];
      await using client = await createNixEnvironment({ network: site.gap.namespace, config });
      await client.run('nix-store', ['--realise', '--quiet', drv], { timeoutMs: 300_000 });
    });

    sourcesClientSuite('the Nix of this machine', { site: () => site, set: () => crossing.set, packages: PACKAGES });
  });

  test('are collected on a machine without Nix from a folder of .drv files, with all that these are built from', async () => {
    const [drv = '', source = ''] = await crossing.set.instantiate(['cron', 'cron.src']);
    const at = (name: string) => path.join(crossing.nix.directory, name);
    await mkdir(at('drvs'));
    const graph = await crossing.nix.lines('nix-store', ['--query', '--requisites', drv, source]);
    for (const file of graph) {
      await cp(crossing.nix.physical(file), path.join(at('drvs'), path.basename(file)), { recursive: true });
    }
    await mkdir(at('without-nix'));
    const machine = await openNoNix(at('without-nix'));
    const collect = async (mirror: string, args: readonly string[]) => {
      const flags = ['--upstream', crossing.emptyUpstream, '--tarballs-mirror', 'none', '--mirror', at(mirror)];
      const result = await machine.run(nixferryCommand, ['collect', ...args, '--derivations', at('drvs'), ...flags]);
      assert.match(result.stdout, /complete: /);
      return readPaths(at(mirror));
    };
    const one = await collect('one-source', [source]);
    assert.deepEqual(
      one.map(({ storePath }) => storePath.slice('/nix/store/'.length + 33)),
      ['cron-4.1.tar.gz'],
    );
    const all = await collect('all-sources', [drv, '--scope', 'rebuild', '--sources-only']);
    const carried = new Set<string>(all.map(({ storePath }) => storePath));
    for (const file of graph) assert.ok(carried.has(file), file);
    assert.ok(carried.has(one[0]?.storePath ?? ''));
    assert.ok(all.every(({ contentAddress }) => contentAddress !== undefined));
  });
});
