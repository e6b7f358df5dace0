// Repositories behind the gap with the Nix of Debian's newer releases, which ask for commits rather than branches.

import { repositoriesSuite } from '../support/repositories-suite.ts';
import { debianChroot } from './debian-chroot.ts';

repositoriesSuite(
  (['trixie', 'sid'] as const).map((release) => ({ whose: `Debian ${release}`, chroot: () => debianChroot(release) })),
);
