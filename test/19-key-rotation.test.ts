// A key is changed while clients install: those that know only the old one and those that know only the new one are served alike.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertRefused, exportToMedium, openSite, publicKeyLine, realise } from './support/carry.ts';
import { createNixEnvironment } from './support/nix.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { serveDirectory } from './support/static-server.ts';
import { makeUpstream } from './support/upstream.ts';

test('clients with the old key and clients with the new key install during and after a rotation', async () => {
  await using connected = await createNixEnvironment();
  const upstream = await makeUpstream({ nix: connected, paths: 12, compressions: ['xz', 'zstd'] });
  await using server = await serveDirectory(upstream.directory);
  const { directory } = connected;
  await using site = await openSite(
    await exportToMedium({ nix: connected, upstream, url: server.url, site: 'lab', directory }),
  );
  const keys = (...args: string[]) => site.gap.run(nixferryCommand, ['keys', ...args, '--mirror', site.mirror]);
  const client = () => createNixEnvironment({ network: site.gap.namespace });
  const trustedKeys = async (): Promise<string> => {
    const { stdout } = await site.gap.run('curl', ['-sf', `${site.url}/nix.conf`]);
    return /^trusted-public-keys = (.*)$/m.exec(stdout)?.[1] ?? '';
  };

  const { stdout } = await keys('rotate', '--name', 'lab-2');
  assert.match(stdout, /^complete: 1[2-9] paths signed, 0 had it already$/m);
  const newKey = publicKeyLine(await keys('show'));
  assert.match(newKey, /^lab-2:/);
  assert.equal(await trustedKeys(), `${newKey} ${site.publicKey}`);
  for (const publicKey of [newKey, site.publicKey, upstream.publicKey]) {
    await using installing = await client();
    await assertRefused(installing, upstream.root, site.url);
    await using trusting = await client();
    await realise(trusting, upstream.root, { url: site.url, publicKey });
  }

  await keys('retire', site.publicKey.split(':')[0] ?? '');
  assert.equal(await trustedKeys(), newKey);
  await using forgotten = await client();
  await realise(forgotten, upstream.root, site);
  const again = await site.gap.run(nixferryCommand, ['sign', '--all', '--mirror', site.mirror]);
  assert.match(again.stdout, /^complete: 0 paths signed, 1[2-9] had it already$/m);
  assert.equal(await site.gap.attemptsToLeave(), 0);
});
