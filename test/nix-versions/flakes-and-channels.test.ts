// Channels, flakes and pinned projects behind the gap with the Nix of Debian's newer releases; both know lockable tarballs.

import { offlineEvaluationSuite } from '../support/offline-evaluation-suite.ts';
import { debianChroot } from './debian-chroot.ts';

offlineEvaluationSuite(
  (['trixie', 'sid'] as const).map((release) => ({
    whose: `Debian ${release}`,
    chroot: () => debianChroot(release),
    isOfThisMachine: false,
    locksTarballs: true,
    asksForHashes: release === 'sid',
  })),
);
