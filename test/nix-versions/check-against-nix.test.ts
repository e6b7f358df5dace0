// What is said of a mirror against what a newer Nix does with it: it asks for realisations when it plans, too.

import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { openOracle } from '../support/check-against-nix.ts';
import { makeRandom } from '../support/random.ts';
import { debianChroot } from './debian-chroot.ts';

const DRY_RUNS = 200;
const BUILDS = 12;

suite('planClient', () => {
  for (const release of ['trixie', 'sid']) {
    test(`says of hundreds of mirrors what the Nix of Debian ${release} says and does`, async (context) => {
      const random = makeRandom();
      const chroot = await debianChroot(release);
      await using oracle = await openOracle({ random, chroot, derivations: 70, planAsksForRealisations: true });
      context.diagnostic(`${oracle.version}; NIXFERRY_SEED=${random.seed}`);
      let sufficient = 0;
      for (let count = 0; count < DRY_RUNS; count += 1) if (await oracle.compareDryRun()) sufficient += 1;
      context.diagnostic(`${sufficient} of ${DRY_RUNS} mirrors suffice`);
      assert.ok(sufficient > 0 && sufficient < DRY_RUNS);
      const verdicts: (boolean | 'unclear')[] = [];
      for (let count = 0; count < BUILDS; count += 1) verdicts.push(await oracle.compareBuild());
      context.diagnostic(
        `of ${BUILDS} that are built from, ${verdicts.filter((verdict) => verdict === true).length} suffice`,
      );
      assert.ok(verdicts.includes(true) || verdicts.includes(false));
    });
  }
});
