// A build that fails behind the gap for something that is missing, and succeeds after the next shipment.

import { wantSuite } from './support/want-suite.ts';

wantSuite([{ whose: 'this machine', chroot: async () => undefined }]);
