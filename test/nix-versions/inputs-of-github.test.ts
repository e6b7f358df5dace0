// Inputs that name GitHub, locked, evaluated and moved behind the gap by the Nix of Debian's newer releases.

import { githubSuite } from '../support/github-suite.ts';
import { debianChroot } from './debian-chroot.ts';

githubSuite(
  (['trixie', 'sid'] as const).map((release) => ({ whose: `Debian ${release}`, chroot: () => debianChroot(release) })),
);
