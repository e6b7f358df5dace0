// Repositories of git: found by evaluating or named, carried as bundles, and asked for by their own addresses behind the gap.

import { repositoriesSuite } from './support/repositories-suite.ts';

repositoriesSuite([{ whose: 'this machine', chroot: async () => undefined }]);
