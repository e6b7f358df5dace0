// What clients with the Nix of Debian's newer releases ask for in vain, and have after the next shipment.

import { wantSuite } from '../support/want-suite.ts';
import { debianChroot } from './debian-chroot.ts';

wantSuite(
  (['trixie', 'sid'] as const).map((release) => ({ whose: `Debian ${release}`, chroot: () => debianChroot(release) })),
);
