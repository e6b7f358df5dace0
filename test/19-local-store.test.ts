// `nix-build` on the server is enough to offer a package.

import { localStoreSuite } from './support/local-store-suite.ts';

localStoreSuite({ whose: 'this machine', chroot: async () => undefined });
