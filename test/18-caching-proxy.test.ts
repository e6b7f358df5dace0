// One cache for the LAN: real Nix installs through a server that began with nothing, from a line that breaks, and what came through can be carried on.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { assertInstalled, assertRefused, openSite, publicKeyLine, realise } from './support/carry.ts';
import { createNixEnvironment } from './support/nix.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { openProxyJourney, type ProxyJourney, waitForPaths } from './support/proxy-journey.ts';

const PATHS = 120;

suite('a caching proxy before a line that breaks', () => {
  const cleanUp = new AsyncDisposableStack();
  let journey: ProxyJourney;

  before(async () => {
    journey = cleanUp.use(
      await openProxyJourney({ paths: PATHS, compressions: ['xz', 'zstd', 'bzip2', 'none', 'br'], port: 18180 }),
    );
  });
  after(() => cleanUp.disposeAsync());

  test('real Nix installs through a server that began with nothing, while the line fails again and again', async () => {
    journey.line.misbehave(
      { path: /^\/nar\//, times: 5, fault: { kind: 'break', afterBytes: 300 } },
      { path: /narinfo$/, times: 1, fault: { kind: 'status', status: 429, retryAfter: '1' } },
      { path: /narinfo$/, times: 2, fault: { kind: 'hang-up' } },
    );
    await using client = await createNixEnvironment();
    await realise(client, journey.upstream.root, journey);
    await assertInstalled(client, journey.connected, journey.upstream);
    journey.line.behave();
  });

  test('all of it is in the mirror then, sound, and each NAR was fetched once', async () => {
    await waitForPaths(journey.connected, journey.mirror, PATHS);
    await journey.connected.run(nixferryCommand, ['verify', '--mirror', journey.mirror]);
    const fetched = journey.line.requests.filter(
      ({ path: name, headers }) => name.startsWith('/nar/') && !headers.range,
    );
    const distinct = new Set(fetched.map(({ path: name }) => name));
    assert.ok(fetched.length <= distinct.size + 5, `${fetched.length} transfers of ${distinct.size} NARs`);
  });

  test('a client that trusts only the key of the upstream installs, and one that trusts neither does not', async () => {
    await using client = await createNixEnvironment();
    await assertRefused(client, journey.upstream.root, journey.url);
    await realise(client, journey.upstream.root, { url: journey.url, publicKey: journey.upstream.publicKey });
  });

  test('without the line, also after a restart, clients install what is here', async () => {
    const asked = journey.line.requests.length;
    await journey.line.goDead();
    await journey.restart();
    await using client = await createNixEnvironment();
    await realise(client, journey.upstream.root, journey);
    await assertInstalled(client, journey.connected, journey.upstream);
    assert.equal(journey.line.requests.length, asked);
    await journey.line.revive();
  });

  test('what came through is packed from the serving mirror under load, imported elsewhere and installed there', async () => {
    const medium = path.join(journey.connected.directory, 'lan/medium');
    const stopLoad = new AbortController();
    const load = Promise.all(
      Array.from({ length: 8 }, async () => {
        while (!stopLoad.signal.aborted) {
          const hashPart = path.basename(journey.upstream.root).slice(0, 32);
          const response = await fetch(`${journey.url}/${hashPart}.narinfo`);
          assert.equal(response.status, 200);
          await response.text();
        }
      }),
    );
    const to = ['--to', medium, '--site', 'far', '--no-tools', '--mirror', journey.mirror];
    await journey.connected.run(nixferryCommand, ['pack', journey.upstream.root, ...to]);
    stopLoad.abort();
    await load;
    const senderKey = publicKeyLine(
      await journey.connected.run(nixferryCommand, ['keys', 'show', '--mirror', journey.mirror]),
    );
    await using site = await openSite({ directory: medium, mirror: journey.mirror, senderKey });
    await using client = await createNixEnvironment({ network: site.gap.namespace });
    await realise(client, journey.upstream.root, site);
    await assertInstalled(client, journey.connected, journey.upstream);
    assert.equal(await site.gap.attemptsToLeave(), 0);
  });
});

test('the line is pulled and put back while real Nix installs, and the same command finishes', async () => {
  await using journey = await openProxyJourney({ paths: 60, port: 18181 });
  await using client = await createNixEnvironment();
  const puller = (async () => {
    for (let round = 0; round < 6; round++) {
      await sleep(400);
      await journey.line.goDead();
      await sleep(300);
      await journey.line.revive();
    }
  })();
  for (let tries = 0; ; tries++) {
    const { exitCode } = await realise(client, journey.upstream.root, journey, 'any');
    if (exitCode === 0) break;
    // Nix remembers for an hour what a cache did not have.
    await client.run('rm', ['-rf', path.join(client.env['HOME'] ?? '', '.cache/nix')]);
    assert.ok(tries < 20);
  }
  await puller;
  await assertInstalled(client, journey.connected, journey.upstream);
  await waitForPaths(journey.connected, journey.mirror, 60);
  await journey.connected.run(nixferryCommand, ['verify', '--mirror', journey.mirror]);
});

test('the server is killed without warning again and again while real Nix installs: its mirror is sound each time', async () => {
  await using journey = await openProxyJourney({ paths: 60, port: 18182 });
  for (let round = 0; round < 5; round++) {
    await using client = await createNixEnvironment();
    const installing = realise(client, journey.upstream.root, journey, 'any');
    await sleep(300 + 350 * round);
    await journey.proxy.stop('SIGKILL');
    await journey.connected.run(nixferryCommand, ['verify', '--mirror', journey.mirror]);
    await journey.restart();
    await installing;
  }
  await using client = await createNixEnvironment();
  await realise(client, journey.upstream.root, journey);
  await waitForPaths(journey.connected, journey.mirror, 60);
  await journey.connected.run(nixferryCommand, ['verify', '--mirror', journey.mirror]);
});
