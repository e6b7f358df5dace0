import { doctorSuite } from '../support/doctor-suite.ts';
import { debianChroot } from './debian-chroot.ts';

for (const release of ['trixie', 'sid'])
  doctorSuite({ whose: `Debian ${release}`, chroot: () => debianChroot(release) });
