import { localStoreSuite } from '../support/local-store-suite.ts';
import { debianChroot } from './debian-chroot.ts';

for (const release of ['trixie', 'sid'])
  localStoreSuite({ whose: `Debian ${release}`, chroot: () => debianChroot(release) });
