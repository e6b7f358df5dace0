// All three scopes of one root, as a process of its own: `closure-child.ts STORE ROOT FACTS`. Prints what came out and what it cost.

import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { derivationFiles } from '../../src/closure/derivation-files.ts';
import { loadDerivationGraph } from '../../src/closure/derivation-graph.ts';
import { computeScopes, type KnownPath } from '../../src/closure/scopes.ts';
import { type StorePath, storePathFromBaseName } from '../../src/nix/store-path.ts';
import { ownPeakKiB } from '../../test/support/own-peak.ts';

export interface ClosureCost {
  readonly paths: Readonly<Record<'run' | 'reconfigure' | 'rebuild', number>>;
  readonly derivations: number;
  readonly missing: number;
  /** Without starting, and without reading what is known of paths. */
  readonly seconds: number;
  /** Of the processor, on all cores: without reading what is known of paths. */
  readonly processorSeconds: number;
  /** Of the whole process, Node and what is known of paths included. */
  readonly peakMegabytes: number;
}

const [store = '', root = '', factsFile = ''] = process.argv.slice(2);
const startCost = process.cpuUsage();
const known = await readFacts(factsFile);
const factsCost = process.cpuUsage(startCost);
const started = performance.now();
const drvPath = storePathFromBaseName(path.basename(root), '/nix/store');
const graph = await loadDerivationGraph({
  roots: [drvPath],
  read: derivationFiles(store),
  storeDir: '/nix/store',
});
const closures = await computeScopes({
  graph,
  targets: [{ drvPath, outputs: ['out'] }],
  paths: [],
  evaluationInputs: [],
  find: async (storePath) => known.get(storePath),
  withDerivations: true,
  sourcesOnly: false,
});
const seconds = (performance.now() - started) / 1000;
const wholeCost = process.cpuUsage();
const cost: ClosureCost = {
  paths: {
    run: closures.run.paths.size,
    reconfigure: closures.reconfigure.paths.size,
    rebuild: closures.rebuild.paths.size,
  },
  derivations: graph.nodes.length,
  missing: closures.rebuild.missing.length,
  seconds,
  processorSeconds: (wholeCost.user + wholeCost.system - factsCost.user - factsCost.system) / 1e6,
  peakMegabytes: (ownPeakKiB() * 1024) / 1e6,
};
process.stdout.write(JSON.stringify(cost));

async function readFacts(file: string): Promise<Map<StorePath, KnownPath>> {
  const facts = new Map<StorePath, KnownPath>();
  for (const line of (await readFile(file, 'utf8')).split('\n')) {
    const [kind, storePath, ...references] = line.split(' ') as [string, StorePath?, ...StorePath[]];
    if (storePath !== undefined) facts.set(storePath, { references, substitutable: kind === 'public' });
  }
  return facts;
}
