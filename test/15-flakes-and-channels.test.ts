// Evaluating behind the gap: what flakes, channels and pinned trees read is at hand, and moves on with each shipment.

import { offlineEvaluationSuite } from './support/offline-evaluation-suite.ts';

offlineEvaluationSuite([
  {
    whose: 'this machine',
    chroot: async () => undefined,
    isOfThisMachine: true,
    locksTarballs: false,
    asksForHashes: false,
  },
]);
