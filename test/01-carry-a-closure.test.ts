// The main job, as a user does it: a closure of more than 400 paths goes from an upstream over HTTP onto a medium, across
// the gap, into a mirror, and real Nix installs it from there with signatures required.

import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import {
  assertInstalled,
  assertRefused,
  exportToMedium,
  type Medium,
  openSite,
  realise,
  type Site,
  STRANGERS_KEY,
} from './support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { serveDirectory } from './support/static-server.ts';
import { makeUpstream, type TestUpstream } from './support/upstream.ts';

const PATHS = 420;

suite('a closure carried across the air gap', () => {
  const cleanUp = new AsyncDisposableStack();
  let connected: NixEnvironment;
  let upstream: TestUpstream;
  let medium: Medium;
  let site: Site;

  before(async () => {
    connected = cleanUp.use(await createNixEnvironment());
    upstream = await makeUpstream({
      nix: connected,
      paths: PATHS,
      compressions: ['xz', 'zstd', 'bzip2', 'none', 'br'],
      listings: true,
    });
    const server = cleanUp.use(await serveDirectory(upstream.directory));
    medium = await exportToMedium({
      nix: connected,
      upstream,
      url: server.url,
      site: 'lab',
      directory: connected.directory,
    });
    // From here on the internet is gone for everybody.
    await server[Symbol.asyncDispose]();
    site = cleanUp.use(await openSite(medium));
  });
  after(() => cleanUp.disposeAsync());

  test('export writes one shipment with the files of format 1', async () => {
    const names = await readdir(medium.directory);
    assert.deepEqual(names, ['lab-0001']);
    const files = (await readdir(path.join(medium.directory, 'lab-0001'))).toSorted();
    for (const name of ['READ-ME-FIRST.txt', 'SHA256SUMS', 'inventory.jsonl.zst', 'manifest.json', 'manifest.sig']) {
      assert.ok(files.includes(name), `${name} is in ${files.join(' ')}`);
    }
    await connected.run('sha256sum', ['--check', '--quiet', 'SHA256SUMS'], {
      cwd: path.join(medium.directory, 'lab-0001'),
    });
  });

  test('real Nix installs the closure when only the key of the site is trusted', async () => {
    await using client = await createNixEnvironment({ network: site.gap.namespace });
    await realise(client, upstream.root, site);
    await assertInstalled(client, connected, upstream);
  });

  test('real Nix installs the closure when only the key of the upstream is trusted', async () => {
    await using client = await createNixEnvironment({ network: site.gap.namespace });
    await realise(client, upstream.root, { url: site.url, publicKey: upstream.publicKey });
    await assertInstalled(client, connected, upstream);
  });

  test('real Nix refuses the closure when the key of the site is not trusted', async () => {
    await using client = await createNixEnvironment({ network: site.gap.namespace });
    await assertRefused(client, upstream.root, site.url);
  });

  test('import refuses the medium with exit code 12 when the key of the sender is not trusted', async () => {
    const mirror = path.join(site.gap.directory, 'suspicious-mirror');
    const args = ['import', site.inserted, '--trust', STRANGERS_KEY, '--mirror', mirror];
    const { stderr } = await site.gap.run(nixferryCommand, args, { exitCode: 12 });
    assert.match(stderr, /trust/);
    const published = await readdir(mirror).catch(() => []);
    assert.deepEqual(
      published.filter((name) => name.endsWith('.narinfo')),
      [],
    );
  });

  test('import changes nothing when the same medium is imported again', async () => {
    const listed = (await readdir(site.mirror)).toSorted();
    const { stdout } = await site.gap.run(nixferryCommand, ['import', site.inserted, '--mirror', site.mirror]);
    assert.match(stdout, /^complete: shipment 1 /m);
    assert.deepEqual((await readdir(site.mirror)).toSorted(), listed);
  });

  test('real Nix installs the closure from the mirror over file:// when no server runs', async () => {
    await using client = await createNixEnvironment({ network: site.gap.namespace, shared: [site.mirror] });
    await realise(client, upstream.root, { url: `file://${site.mirror}`, publicKey: site.publicKey });
    await assertInstalled(client, connected, upstream);
  });

  test('nothing tried to reach another machine while it was imported, served and installed', async () => {
    assert.equal(await site.gap.attemptsToLeave(), 0);
  });

  test('serve ends with exit code 0 when it is asked to stop', async () => {
    const { exitCode, signal } = await site.server.stop('SIGTERM');
    assert.deepEqual({ exitCode, signal }, { exitCode: 0, signal: null });
  });
});
