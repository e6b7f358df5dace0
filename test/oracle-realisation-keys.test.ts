// Under which names caches say what outputs of floating derivations are: those that we work out against those that Nix writes.

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { suite, test } from 'node:test';
import { loadDerivationGraph } from '../src/closure/derivation-graph.ts';
import { realisationKeys } from '../src/closure/realisation-keys.ts';
import { formatRealisationPath, parseStorePath, type StorePath } from '../src/nix/index.ts';
import { MIX_CONFIG, makeDerivationMix } from './support/derivation-mix.ts';
import { createNixEnvironment } from './support/nix.ts';
import { makeRandom } from './support/random.ts';

suite('realisationKeys', () => {
  test('names every output as Nix does when a cache holds realisations of random derivations', async (context) => {
    const random = makeRandom();
    context.diagnostic(`NIXFERRY_SEED=${random.seed}`);
    await using nix = await createNixEnvironment({ config: MIX_CONFIG });
    const mix = await makeDerivationMix({ nix, random, count: 60 });
    const written = new Set(await readdir(path.join(mix.cache, 'realisations')));
    const read = (drvPath: StorePath) => readFile(nix.physical(drvPath));
    const roots = mix.derivations.map(({ drvPath }) => parseStorePath(drvPath, '/nix/store'));
    const graph = await loadDerivationGraph({ roots, read, storeDir: '/nix/store' });
    const keysOf = realisationKeys({ graph, read });
    let floating = 0;
    for (const node of graph.nodes) {
      if (node.kind === 'impure') continue;
      if (node.kind === 'floating' || node.kind === 'deferred') floating += 1;
      for (const { name } of node.outputs) {
        const [key] = await keysOf(node.drvPath, name);
        assert.ok(
          key !== undefined && written.has(path.basename(formatRealisationPath(key))),
          `${node.drvPath}!${name}`,
        );
      }
    }
    assert.ok(floating > 0);
  });
});
