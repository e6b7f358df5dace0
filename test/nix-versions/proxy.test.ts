// The caching proxy with the Nix that people have: each version is the first to ask for every path, and installs again when all is here and the line is gone.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertInstalled, assertRefused, realise } from '../support/carry.ts';
import { createNixEnvironment } from '../support/nix.ts';
import { openProxyJourney, waitForPaths } from '../support/proxy-journey.ts';
import { debianChroot, nixVersionIn } from './debian-chroot.ts';

const PATHS = 80;

for (const { name, release, port } of [
  { name: 'this machine', release: undefined, port: 18190 },
  { name: 'Debian trixie', release: 'trixie', port: 18191 },
  { name: 'Debian sid', release: 'sid', port: 18192 },
] as const) {
  test(`the Nix of ${name} installs through a proxy that has nothing yet, and again without a line`, async (context) => {
    const chroot = release === undefined ? undefined : await debianChroot(release);
    if (chroot !== undefined) context.diagnostic(`nix (Nix) ${await nixVersionIn(chroot)}`);
    await using journey = await openProxyJourney({ paths: PATHS, compressions: ['xz', 'zstd'], port });
    journey.line.misbehave(
      { path: /^\/nar\//, times: 3, fault: { kind: 'break', afterBytes: 200 } },
      { path: /narinfo$/, times: 1, fault: { kind: 'status', status: 429, retryAfter: '1' } },
    );
    {
      await using client = await createNixEnvironment({ chroot });
      await assertRefused(client, journey.upstream.root, journey.url);
      await realise(client, journey.upstream.root, journey);
      await assertInstalled(client, journey.connected, journey.upstream);
    }
    await waitForPaths(journey.connected, journey.mirror, PATHS);
    await journey.line.goDead();
    const asked = journey.line.requests.length;
    await using client = await createNixEnvironment({ chroot });
    await realise(client, journey.upstream.root, journey);
    await assertInstalled(client, journey.connected, journey.upstream);
    assert.equal(journey.line.requests.length, asked);
  });
}
