// Content-addressed derivations through a caching proxy: what an upstream says of their outputs is passed on with our signature, kept, and carried on.

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parsePublicKey } from '../src/nix/index.ts';
import { parseRealisation, parseRealisationPath, trustedRealisationSignature } from '../src/nix/realisation.ts';
import { openSite, publicKeyLine } from './support/carry.ts';
import { openContentAddressedCache } from './support/content-addressed-cache.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { startUnreliableServer } from './support/unreliable-server.ts';

const URL = 'http://127.0.0.1:18183';

test('content-addressed outputs come through the proxy with our key alone, stay without the line, and are carried on', async () => {
  await using cache = await openContentAddressedCache();
  await using line = await startUnreliableServer({ directory: cache.directory });
  await using lan = await createNixEnvironment();
  const mirror = path.join(lan.directory, 'mirror');
  const flags = ['--upstream', line.url, '--trusted-public-key', cache.publicKey, '--workers', '1'];
  const server = lan.start(nixferryCommand, ['serve', '--mirror', mirror, '--listen', '127.0.0.1:18183', ...flags]);
  await server.waitForOutput(/^serving .* on http/m);
  const publicKey = publicKeyLine(await lan.run(nixferryCommand, ['keys', 'show', '--mirror', mirror]));
  const from = { url: URL, publicKey };

  const assertSignedByBoth = (name: string, bytes: Buffer): void => {
    const key = parseRealisationPath(`realisations/${name}`);
    assert.ok(key !== undefined);
    for (const trusted of [publicKey, cache.publicKey]) {
      assert.ok(trustedRealisationSignature(parseRealisation(bytes, key), [parsePublicKey(trusted)]) !== undefined);
    }
  };
  await cache.withoutInternet(async () => {
    for (const name of await readdir(path.join(cache.directory, 'realisations'))) {
      assertSignedByBoth(name, Buffer.from(await (await fetch(`${URL}/realisations/${name}`)).arrayBuffer()));
    }
    const built = await buildsTool(cache.file, from);
    assert.equal(built.exitCode, 0, built.stderr);

    for (const name of await realisationsOf(mirror, 2)) {
      assertSignedByBoth(name, await readFile(path.join(mirror, 'realisations', name)));
    }

    await line.goDead();
    const again = await buildsTool(cache.file, from);
    assert.equal(again.exitCode, 0, again.stderr);

    const directory = path.join(lan.directory, 'medium');
    const to = ['--to', directory, '--site', 'far', '--no-tools', '--mirror', mirror];
    await lan.run(nixferryCommand, ['pack', built.stdout.trim(), ...to]);
    await using site = await openSite({ directory, mirror, senderKey: publicKey });
    const far = await buildsTool(cache.file, site, site.gap);
    assert.equal(far.exitCode, 0, far.stderr);
  });
  await line.revive();
});

async function buildsTool(
  file: string,
  { url, publicKey }: { readonly url: string; readonly publicKey: string },
  gap?: NixEnvironment,
) {
  await using client = await createNixEnvironment(gap === undefined ? {} : { network: gap.namespace });
  const settings = { substituters: url, 'trusted-public-keys': publicKey, 'require-sigs': 'true', substitute: 'true' };
  const options = Object.entries(settings).flatMap(([name, value]) => ['--option', name, value]);
  return await client.run('nix-build', ['--no-out-link', file, '-A', 'tool', ...options], { exitCode: 'any' });
}

/** What is fetched is published a moment later. */
async function realisationsOf(mirror: string, count: number): Promise<string[]> {
  for (let tries = 0; tries < 300; tries++) {
    const names = await readdir(path.join(mirror, 'realisations'));
    if (names.length === count) return names;
    await sleep(50);
  }
  assert.fail(`there were never ${count} realisations in the mirror`);
}
