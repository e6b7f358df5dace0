// The Nixferry of a medium as the cache of a LAN, where nothing is installed: it fetches from upstreams, and offers the store of its own machine.

import assert from 'node:assert/strict';
import { cp, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type AirGap, openAirGap } from './support/air-gap.ts';
import { type BareRoot, type MediumMount, makeDebianRoot, makeNixosRoot } from './support/bare-root.ts';
import { assertInstalled, publicKeyLine, realise } from './support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { repositoryRoot } from './support/nixferry.ts';
import type { RunningProcess } from './support/run.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';
import { makeUpstream, type TestUpstream } from './support/upstream.ts';

const MIRROR = '/srv/mirror';
const PROGRAM = '/media/stick/nixferry';

suite('Nixferry from the medium as a cache, where nothing is installed', () => {
  const cleanUp = new AsyncDisposableStack();
  let temp: TempDir;
  let gap: AirGap;
  let connected: NixEnvironment;
  let upstream: TestUpstream;

  before(async () => {
    temp = cleanUp.use(await makeTempDir('bare-serve'));
    gap = cleanUp.use(await openAirGap());
    connected = cleanUp.use(await createNixEnvironment());
    upstream = await makeUpstream({
      nix: connected,
      paths: 12,
      compressions: ['xz', 'zstd', 'bzip2', 'none'],
      // Unpacked it is more than the decoder inside the program takes on: xz itself must be there.
      largestFileBytes: 12_000_000,
    });
  });
  after(() => cleanUp.disposeAsync());

  const tools: MediumMount = {
    directory: path.join(repositoryRoot, 'dist/tools'),
    at: '/media/stick',
    options: 'ro',
  };
  const systems = [
    { name: 'a Debian with an empty PATH', make: makeDebianRoot, mount: tools, env: { PATH: '' } },
    { name: 'a NixOS without /lib64 and /proc, without an environment', make: makeNixosRoot, mount: tools, env: {} },
    {
      name: 'a Debian whose medium may not start programs',
      make: makeDebianRoot,
      mount: { ...tools, options: 'ro,noexec' } as const,
      env: { PATH: '/usr/bin' },
    },
  ];
  for (const [index, { name, make, mount, env }] of systems.entries()) {
    test(`it fetches from an upstream what real Nix installs, and replaces a fetcher that dies, on ${name}`, async () => {
      const root = await make(temp.join(`proxy-${index}`), gap.namespace, mount);
      const [internet, port] = [await serveInGap(gap, upstream.directory), 8100 + index];
      const flags = ['--upstream', internet.url, '--trusted-public-key', upstream.publicKey, '--mirror', MIRROR];
      const serve = ['serve', '--listen', `127.0.0.1:${port}`, '--workers', '2', ...flags];
      await using server = root.start([PROGRAM, ...serve], { env });
      await server.waitForOutput(/serving .* on http/);
      const publicKey = publicKeyLine(await root.run([PROGRAM, 'keys', 'show', '--mirror', MIRROR], { env }));
      const url = `http://127.0.0.1:${port}`;
      {
        await using client = await createNixEnvironment({ network: gap.namespace });
        await realise(client, upstream.root, { url, publicKey });
        await assertInstalled(client, connected, upstream);
      }
      await untilPublished(root, upstream.paths.length);
      process.kill(await fetcherOf(server, internet.url), 'SIGKILL');
      await server.waitForOutput(/died; it will be replaced/);
      const again = `until curl -s ${url}/readyz | grep '"state":"up"'; do sleep 0.1; done`;
      await gap.run('/bin/sh', ['-euc', again], { timeoutMs: 30_000 });
      await internet.server.stop();
      await using client = await createNixEnvironment({ network: gap.namespace });
      await realise(client, upstream.root, { url, publicKey });
      const { exitCode, stderr } = await server.stop();
      assert.equal(exitCode, 0, stderr);
      await root.run([PROGRAM, 'verify', '--mirror', MIRROR], { env });
      assert.deepEqual(await readdir(path.join(root.directory, 'tmp')), []);
    });
  }

  test('it offers the store of the machine, and real Nix installs from it, with an empty PATH', async () => {
    const root = await makeDebianRoot(temp.join('local-store'), gap.namespace, tools);
    const env = { PATH: '' };
    await using builder = await createNixEnvironment();
    const [built = ''] = await builder.build(
      'derivation { name = "own"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo own words > $out" ]; }',
    );
    await cp(path.join(builder.directory, 'nix'), path.join(root.directory, 'nix'), {
      recursive: true,
      verbatimSymlinks: true,
    });
    await root.run([PROGRAM, 'init', '--mirror', MIRROR], { env });
    const publicKey = publicKeyLine(await root.run([PROGRAM, 'keys', 'show', '--mirror', MIRROR], { env }));
    const serve = ['serve', '--listen', '127.0.0.1:8110', '--workers', '2', '--local-store', '--mirror', MIRROR];
    await using server = root.start([PROGRAM, ...serve], { env });
    await server.waitForOutput(/serving .* on http/);
    await using client = await createNixEnvironment({ network: gap.namespace });
    await realise(client, built, { url: 'http://127.0.0.1:8110', publicKey });
    assert.equal(await readFile(client.physical(built), 'utf8'), 'own words\n');
    assert.equal((await server.stop()).exitCode, 0);
    assert.deepEqual(await readdir(path.join(root.directory, 'tmp')), []);
  });

  test('nothing of all this tried to reach another machine', async () => {
    assert.equal(await gap.attemptsToLeave(), 0);
  });
});

/** A binary cache inside the gap. */
async function serveInGap(gap: AirGap, directory: string): Promise<{ url: string; server: RunningProcess }> {
  const module = JSON.stringify(path.join(import.meta.dirname, 'support/static-server.ts'));
  const script = `const { serveDirectory } = await import(${module}); console.log((await serveDirectory(${JSON.stringify(directory)})).url);`;
  const server = gap.start(process.execPath, ['--input-type=module', '--eval', script]);
  const [url = ''] = await server.waitForOutput(/http:\/\/127\.0\.0\.1:\d+/);
  return { url, server };
}

/** The one process below the server that was told which upstreams there are. */
async function fetcherOf({ child: { pid = 0 } }: RunningProcess, upstream: string): Promise<number> {
  const waiting = [pid];
  for (let current = waiting.pop(); current !== undefined; current = waiting.pop()) {
    const children = await readFile(`/proc/${current}/task/${current}/children`, 'utf8');
    waiting.push(
      ...children
        .trim()
        .split(' ')
        .filter((one) => one !== '')
        .map(Number),
    );
    const environment = await readFile(`/proc/${current}/environ`, 'latin1');
    if (environment.includes('NIXFERRY_PROXY_FETCHER=') && environment.includes(upstream)) return current;
  }
  assert.fail('there is no fetcher');
}

async function untilPublished({ directory }: BareRoot, count: number): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    const names = await readdir(path.join(directory, MIRROR));
    if (names.filter((name) => name.endsWith('.narinfo')).length === count) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`there were never ${count} paths in the mirror`);
}
