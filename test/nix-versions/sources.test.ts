// Sources that were carried over the gap, and clients of other versions: they build everything from them, and get them by their hashes.

import { after, before, suite } from 'node:test';
import type { Site } from '../support/carry.ts';
import { sourcesClientSuite } from '../support/sources-client-suite.ts';
import { openSourcesCrossing, type SourcesCrossing } from '../support/sources-crossing.ts';
import { debianChroot } from './debian-chroot.ts';

const PACKAGES = ['hello', 'fish', 'openssl'];

suite('carried sources', () => {
  const cleanUp = new AsyncDisposableStack();
  let crossing: SourcesCrossing;
  let site: Site;

  before(async () => {
    crossing = cleanUp.use(await openSourcesCrossing());
    await crossing.collect(PACKAGES);
    site = cleanUp.use(await crossing.openSite());
  });
  after(() => cleanUp.disposeAsync());

  for (const release of ['trixie', 'sid']) {
    const findChroot = () => debianChroot(release);
    const set = () => crossing.set;
    sourcesClientSuite(`the Nix of Debian ${release}`, { site: () => site, set, packages: PACKAGES, findChroot });
  }
});
