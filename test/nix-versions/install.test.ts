// The first crossing with the Nix that people have: Debian's 2.8, and those of Debian's newer releases. One site serves,
// every Nix installs into an empty store of its own, without internet.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { assertInstalled, assertRefused, exportToMedium, openSite, realise, type Site } from '../support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from '../support/nix.ts';
import { serveDirectory } from '../support/static-server.ts';
import { makeUpstream, type TestUpstream } from '../support/upstream.ts';
import { debianChroot, nixVersionIn } from './debian-chroot.ts';

const PATHS = 420;

suite('a closure of more than 400 paths, carried once', () => {
  const cleanUp = new AsyncDisposableStack();
  let connected: NixEnvironment;
  let upstream: TestUpstream;
  let site: Site;

  before(async () => {
    connected = cleanUp.use(await createNixEnvironment());
    upstream = await makeUpstream({ nix: connected, paths: PATHS, compressions: ['xz', 'zstd'] });
    await using server = await serveDirectory(upstream.directory);
    const medium = await exportToMedium({
      nix: connected,
      upstream,
      url: server.url,
      site: 'lab',
      directory: connected.directory,
    });
    site = cleanUp.use(await openSite(medium));
  });
  after(() => cleanUp.disposeAsync());

  test('is installed by the Nix of this machine when only the key of the site is trusted', async (context) => {
    await using client = await createNixEnvironment({ network: site.gap.namespace });
    context.diagnostic((await client.run('nix', ['--version'])).stdout.trim());
    await realise(client, upstream.root, site);
    await assertInstalled(client, connected, upstream);
  });

  for (const { release, atLeast } of [
    { release: 'trixie', atLeast: [2, 26] },
    { release: 'sid', atLeast: [2, 34] },
  ] as const) {
    test(`is installed by the Nix of Debian ${release} when only the key of the site is trusted`, async (context) => {
      const chroot = await debianChroot(release);
      const version = await nixVersionIn(chroot);
      context.diagnostic(`nix (Nix) ${version}`);
      const [major = 0, minor = 0] = version.split('.').map(Number);
      assert.ok(major > atLeast[0] || (major === atLeast[0] && minor >= atLeast[1]), version);

      await using client = await createNixEnvironment({ network: site.gap.namespace, chroot });
      await assertRefused(client, upstream.root, site.url);
      await realise(client, upstream.root, site);
      await assertInstalled(client, connected, upstream);
    });
  }

  test('nothing tried to reach another machine meanwhile', async () => {
    assert.equal(await site.gap.attemptsToLeave(), 0);
  });
});
