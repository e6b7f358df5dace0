// Derivations whose outputs are named by what is in them: nobody knows their paths before they are built, but for caches that say so. What such a
// cache says crosses the gap, so that a client there fetches what it could not build.

import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { exportRootToMedium, type Medium, openSite, type Site } from './support/carry.ts';
import { type ContentAddressedCache, openContentAddressedCache } from './support/content-addressed-cache.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { nixferryCommand } from './support/nixferry.ts';
import type { RunResult } from './support/run.ts';
import { type StaticServer, serveDirectory } from './support/static-server.ts';

suite('content-addressed derivations', () => {
  const cleanUp = new AsyncDisposableStack();
  let connected: NixEnvironment;
  let cache: ContentAddressedCache;
  let upstream: StaticServer;

  before(async () => {
    cache = cleanUp.use(await openContentAddressedCache());
    upstream = cleanUp.use(await serveDirectory(cache.directory));
    connected = cleanUp.use(await createNixEnvironment());
  });
  after(() => cleanUp.disposeAsync());

  async function exportRoot(name: string, attribute: string, ...flags: readonly string[]): Promise<Medium> {
    const directory = path.join(connected.directory, name);
    await mkdir(directory);
    const root = ['-f', cache.file, '-A', attribute];
    const { publicKey } = cache;
    return exportRootToMedium({ nix: connected, root, url: upstream.url, publicKey, site: 'lab', directory, flags });
  }

  function build(site: Site, client: NixEnvironment, attribute: string, from = cache.file): Promise<RunResult> {
    const settings = {
      substituters: site.url,
      'trusted-public-keys': site.publicKey,
      'require-sigs': 'true',
      substitute: 'true',
    };
    const options = Object.entries(settings).flatMap(([name, value]) => ['--option', name, value]);
    return client.run('nix-build', ['--no-out-link', from, '-A', attribute, ...options], { exitCode: 'any' });
  }

  test('are carried to be run, and real Nix fetches them where they cannot be built', async () => {
    const medium = await exportRoot('run', 'tool', '--scope', 'run');
    assert.equal((await readdir(path.join(medium.mirror, 'realisations'))).length, 2);
    await using site = await openSite(medium);
    await using client = await createNixEnvironment({ network: site.gap.namespace });
    await cache.withoutInternet(async () => {
      const { stdout, stderr, exitCode } = await build(site, client, 'tool');
      assert.equal(exitCode, 0, stderr);
      assert.match(
        await readFile(client.physical(stdout.trim()), 'utf8'),
        /^tool made with \/nix\/store\/.*-library$/m,
      );
    });
  });

  test('are carried to be changed around: a client builds what it changed and fetches them', async () => {
    const medium = await exportRoot('reconfigure', 'system', '--scope', 'reconfigure');
    await using site = await openSite(medium);
    await using client = await createNixEnvironment({ network: site.gap.namespace });
    const changed = path.join(client.directory, 'changed.nix');
    await writeFile(changed, cache.expression('changed'));
    await cache.withoutInternet(async () => {
      const { stdout, stderr, exitCode } = await build(site, client, 'system', changed);
      assert.equal(exitCode, 0, stderr);
      assert.match(
        await readFile(client.physical(stdout.trim()), 'utf8'),
        /^changed system of \/nix\/store\/.*-tool$/m,
      );
    });
    const { stdout } = await site.gap.run(nixferryCommand, ['check', '--mirror', site.mirror]);
    assert.match(stdout, /build 1 derivation, /);
  });

  test('are no root at run where no cache says what they are', async () => {
    const args = ['collect', '-f', cache.file, '-A', 'unknown', '--scope', 'run', '--upstream', upstream.url];
    const trust = ['--trusted-public-key', cache.publicKey, '--mirror', path.join(connected.directory, 'unknown')];
    const { stderr, exitCode } = await connected.run(nixferryCommand, [...args, ...trust], { exitCode: 'any' });
    assert.equal(exitCode, 2);
    assert.match(stderr, /-unknown\.drv gives is known only once it is built, and no cache says what it was/);
  });
});
