// What each scope of a system of 10,000 derivations carries, from its `.drv` files: against `nix-store --query --requisites` and `nix
// show-derivation --recursive`, which only list the same derivations and print them. And four times as many, as the largest systems have.

import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { run, toolEnvironment } from '../test/support/run.ts';
import { type BenchmarkContext, type Comparison, runPaired } from './support/benchmark.ts';
import type { ClosureCost } from './support/closure-child.ts';
import { type DerivationStore, openDerivationStore } from './support/derivation-store.ts';

const SECONDS_BOUND = 5;
const MEGABYTES_BOUND = 400;
const PEER = 'nix-store -qR, nix show-derivation -r';

export async function benchmark({ runs, note }: BenchmarkContext): Promise<Comparison[]> {
  await using store = await openDerivationStore(10_000, note);
  const costs: ClosureCost[] = [];
  const peerProcessorSeconds: number[] = [];
  note(`${runs} runs each: all three scopes, and nix-store -qR with nix show-derivation -r`);
  const timings = await runPaired(
    runs,
    { run: async () => costs.push(await allScopes(store)) },
    { run: async () => peerProcessorSeconds.push(await listAndPrint(store)) },
  );
  await using large = await openDerivationStore(40_000, note);
  note('one run: all three scopes of 40,000 derivations');
  const most = await allScopes(large);
  const [{ paths, missing }] = costs as [ClosureCost];
  note(`paths: ${paths.run} run, ${paths.reconfigure} reconfigure, ${paths.rebuild} rebuild; ${missing} missing`);
  const what = `10,000 derivations, ${availableParallelism()} cores`;
  return [
    {
      what: `${what}, seconds of the processor`,
      ours: { name: 'all scopes', seconds: costs.map(({ processorSeconds }) => processorSeconds) },
      peer: { name: PEER, seconds: peerProcessorSeconds },
      goal: { atMostTimes: 1 },
    },
    {
      what: `${what}, from start to end, with reading narinfos from a list`,
      ours: { name: 'all scopes', seconds: timings.ours },
      peer: { name: PEER, seconds: timings.peer },
    },
    {
      what: `${what}, without reading narinfos`,
      ours: { name: 'all scopes', seconds: costs.map(({ seconds }) => seconds) },
      peer: { name: 'bound', seconds: [SECONDS_BOUND] },
      goal: { atMostTimes: 1 },
    },
    {
      what: 'peak memory, 10,000 derivations, all of the process',
      unit: 'MB',
      ours: { name: 'all scopes', seconds: costs.map(({ peakMegabytes }) => peakMegabytes) },
      peer: { name: 'bound', seconds: [MEGABYTES_BOUND] },
      goal: { atMostTimes: 1 },
    },
    {
      what: `peak memory, 40,000 derivations (${most.seconds.toFixed(1)} s)`,
      unit: 'MB',
      ours: { name: 'all scopes', seconds: [most.peakMegabytes] },
      peer: { name: 'four times the bound', seconds: [4 * MEGABYTES_BOUND] },
      goal: { atMostTimes: 1 },
    },
  ];
}

/** Gives the seconds of the processor. */
async function listAndPrint({ shell, root }: DerivationStore): Promise<number> {
  const script =
    'nix-store --query --requisites "$0" > /dev/null; nix show-derivation --recursive "$0" > /dev/null; times';
  const { stdout } = await shell(script, root);
  // The second line is about what the shell has started: `0m1.2s 0m0.3s`.
  const times = [...(stdout.trim().split('\n')[1] ?? '').matchAll(/(\d+)m([\d.]+)s/g)];
  return times.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds), 0);
}

async function allScopes({ physicalStore, root, factsFile, count }: DerivationStore): Promise<ClosureCost> {
  const child = path.join(import.meta.dirname, 'support/closure-child.ts');
  // As the launcher does: TypeScript is made JavaScript once.
  const env = toolEnvironment({ NODE_COMPILE_CACHE: path.join(tmpdir(), 'nixferry-bench-compiled') });
  const { stdout } = await run(process.execPath, [child, physicalStore, root, factsFile], { env });
  const cost = JSON.parse(stdout) as ClosureCost;
  if (cost.derivations !== count) throw new Error(`${cost.derivations} derivations were found, not ${count}`);
  return cost;
}
