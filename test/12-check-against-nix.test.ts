// What is said of a mirror against what Nix does with it: random derivations, random parts of a mirror, random outputs asked for.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { type Oracle, openOracle } from './support/check-against-nix.ts';
import { makeRandom } from './support/random.ts';

const DRY_RUNS = 200;
const BUILDS = 12;

suite('planClient and the Nix of this machine', () => {
  const random = makeRandom();
  let oracle: Oracle;

  before(async () => {
    oracle = await openOracle({ random, derivations: 70, planAsksForRealisations: false });
  });
  after(() => oracle[Symbol.asyncDispose]());

  test('say the same of builds, fetches and unknown paths when asked of hundreds of mirrors', async (context) => {
    context.diagnostic(`${oracle.version}; NIXFERRY_SEED=${random.seed}`);
    let sufficient = 0;
    for (let count = 0; count < DRY_RUNS; count += 1) if (await oracle.compareDryRun()) sufficient += 1;
    context.diagnostic(`${sufficient} of ${DRY_RUNS} mirrors suffice`);
    assert.ok(sufficient > 0 && sufficient < DRY_RUNS);
  });

  test('agree on whether a mirror suffices when Nix builds without internet', async (context) => {
    context.diagnostic(`NIXFERRY_SEED=${random.seed}`);
    const verdicts: (boolean | 'unclear')[] = [];
    for (let count = 0; count < BUILDS; count += 1) verdicts.push(await oracle.compareBuild());
    context.diagnostic(`${verdicts.filter((verdict) => verdict === true).length} of ${BUILDS} mirrors suffice`);
    assert.ok(verdicts.includes(true) || verdicts.includes(false));
  });
});
