// Whoever has the medium but no Nixferry: cat and GNU tar make a binary cache of it that real Nix installs from.

import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type AirGap, openAirGap } from './support/air-gap.ts';
import { assertInstalled, insertReadOnly, publicKeyLine, realise } from './support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { makeUpstream, type TestUpstream } from './support/upstream.ts';

const PATHS = 60;
/** So small that the larger NARs span several volumes. */
const VOLUME_SIZE = '20kB';

suite('a shipment unpacked with cat and tar alone', () => {
  const cleanUp = new AsyncDisposableStack();
  let connected: NixEnvironment;
  let upstream: TestUpstream;
  let gap: AirGap;
  let senderKey: string;
  let cache: string;

  before(async () => {
    connected = cleanUp.use(await createNixEnvironment());
    upstream = await makeUpstream({
      nix: connected,
      paths: PATHS,
      compressions: ['xz', 'zstd', 'none'],
      listings: true,
    });
    const mirror = ['--mirror', path.join(connected.directory, 'mirror')];
    const medium = path.join(connected.directory, 'medium');
    const from = ['--upstream', `file://${upstream.directory}`, '--trusted-public-key', upstream.publicKey];
    const to = ['--to', medium, '--site', 'lab', '--volume-size', VOLUME_SIZE];
    await connected.run(nixferryCommand, ['export', upstream.root, ...from, ...to, ...mirror, '--no-tools'], {
      timeoutMs: 300_000,
    });
    senderKey = publicKeyLine(await connected.run(nixferryCommand, ['keys', 'show', ...mirror]));

    gap = cleanUp.use(await openAirGap());
    const shipment = path.join(await insertReadOnly(gap, medium), 'lab-0001');
    assert.ok((await readdir(path.join(medium, 'lab-0001', 'volumes'))).length > 10, 'there are many volumes');
    cache = path.join(gap.directory, 'cache');
    const { stderr } = await gap.run(
      '/bin/sh',
      ['-euc', 'mkdir "$1"; cat volumes/*.tar | tar -xf - -C "$1"', 'sh', cache],
      {
        cwd: shipment,
      },
    );
    assert.equal(stderr, '', 'tar has nothing to complain about');
    // Nix must not need to write to it, either.
    await gap.run('mount', ['--bind', cache, cache]);
    await gap.run('mount', ['-o', 'remount,bind,ro', cache]);
  });
  after(() => cleanUp.disposeAsync());

  test('sha256sum finds every file of the medium in order', async () => {
    await connected.run('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], {
      cwd: path.join(connected.directory, 'medium', 'lab-0001'),
    });
  });

  test('real Nix installs everything when only the key of the sender is trusted', async () => {
    await using client = await createNixEnvironment({ network: gap.namespace });
    await realise(client, upstream.root, { url: `file://${await mountIn(client)}`, publicKey: senderKey });
    await assertInstalled(client, connected, upstream);
  });

  test('real Nix installs everything when only the key of the upstream is trusted', async () => {
    await using client = await createNixEnvironment({ network: gap.namespace });
    await realise(client, upstream.root, { url: `file://${await mountIn(client)}`, publicKey: upstream.publicKey });
    await assertInstalled(client, connected, upstream);
  });

  test('real Nix refuses when neither key is trusted', async () => {
    await using client = await createNixEnvironment({ network: gap.namespace });
    const stranger = 'stranger-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=';
    const result = await realise(
      client,
      upstream.root,
      { url: `file://${await mountIn(client)}`, publicKey: stranger },
      'any',
    );
    assert.notEqual(result.exitCode, 0);
    assert.match(result.stderr, /is not signed by any of the keys/);
  });

  /** The unpacked cache where this client sees it, read-only. */
  async function mountIn(client: NixEnvironment): Promise<string> {
    const folder = path.join(client.directory, 'cache');
    await client.run('mkdir', ['-p', folder]);
    await client.run('mount', ['--bind', cache, folder]);
    await client.run('mount', ['-o', 'remount,bind,ro', folder]);
    return folder;
  }
});
