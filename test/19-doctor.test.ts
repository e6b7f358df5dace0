// `nixferry doctor` on clients that have every usual thing wrong with them.

import { doctorSuite } from './support/doctor-suite.ts';

doctorSuite({ whose: 'this machine', chroot: async () => undefined });
