// Inputs that name GitHub behind the gap: no registry is asked for them, and they evaluate, build and move all the same.

import { githubSuite } from './support/github-suite.ts';

githubSuite([{ whose: 'this machine', chroot: async () => undefined }]);
