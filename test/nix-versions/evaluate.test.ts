// Evaluating a root finds all that evaluating it needs: with the Nix of Debian's newer releases.

import { evaluationSuite } from '../support/evaluation-suite.ts';
import { debianChroot } from './debian-chroot.ts';

for (const release of ['trixie', 'sid']) evaluationSuite(`the Nix of Debian ${release}`, () => debianChroot(release));
