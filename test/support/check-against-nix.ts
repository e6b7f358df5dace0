// Compares what we say a client does with a mirror with what real Nix says (`nix-store --realise --dry-run`), and with what becomes of it.

import assert from 'node:assert/strict';
import { readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { type ClientPlan, planClient } from '../../src/closure/client-plan.ts';
import { type DerivationGraph, loadDerivationGraph } from '../../src/closure/derivation-graph.ts';
import { type RealisationKeysOf, realisationKeys } from '../../src/closure/realisation-keys.ts';
import type { Target } from '../../src/closure/scopes.ts';
import { parseStorePath, type StorePath } from '../../src/nix/index.ts';
import { type DerivationMix, MIX_CONFIG, makeDerivationMix } from './derivation-mix.ts';
import { type CacheSubset, makeSubset, readWholeCache, type WholeCache } from './mirror-subset.ts';
import { createNixEnvironment, type NixEnvironment } from './nix.ts';
import type { Random } from './random.ts';

export interface Oracle extends AsyncDisposable {
  readonly version: string;
  /** A random part of the mirror, and random outputs to ask for. */
  question(): Promise<Question>;
  /** What we say. */
  plan(question: Question): Promise<ClientPlan>;
  /** Fails unless Nix would build and fetch, and not know, the same. */
  compareDryRun(question: Question): Promise<ClientPlan>;
  /** Whether Nix can have the outputs without the internet: in a new store that holds nothing but the `.drv` files. */
  build(question: Question): Promise<{ readonly succeeded: boolean; readonly said: string }>;
}

export interface Question {
  readonly subset: CacheSubset;
  readonly targets: readonly Target[];
}

export interface OracleOptions {
  readonly random: Random;
  /** The root of a system whose Nix is asked; this machine's unless given. */
  readonly chroot?: string | undefined;
  readonly derivations: number;
  /** Nix since 2.14 asks caches for realisations when it plans; older ones do only when they build. */
  readonly planAsksForRealisations: boolean;
}

export async function openOracle(options: OracleOptions): Promise<Oracle> {
  const { random, chroot, derivations } = options;
  await using stack = new AsyncDisposableStack();
  const connected = stack.use(await createNixEnvironment({ chroot, config: MIX_CONFIG }));
  const mix = await makeDerivationMix({ nix: connected, random, count: derivations });
  const exported = path.join(connected.directory, 'derivations.export');
  await connected.run('/bin/sh', [
    '-euc',
    'file=$0; nix-store --export "$@" > "$file"',
    exported,
    ...mix.derivationClosure,
  ]);
  const openClient = async (): Promise<NixEnvironment> => {
    const client = await createNixEnvironment({
      chroot,
      network: 'none',
      config: MIX_CONFIG,
      shared: [connected.directory],
    });
    await client.run('/bin/sh', ['-euc', 'nix-store --import < "$0"', exported]);
    return client;
  };
  const client = stack.use(await openClient());
  const graph = await loadDerivationGraph({
    roots: mix.derivations.map(({ drvPath }) => parseStorePath(drvPath, '/nix/store')),
    read: (drvPath) => readFile(connected.physical(drvPath)),
    storeDir: '/nix/store',
  });
  assert.deepEqual(graph.problems, []);
  const read = (drvPath: StorePath): Promise<Buffer> => readFile(connected.physical(drvPath));
  const asker = new Asker(options, mix, await readWholeCache(mix.cache), graph, realisationKeys({ graph, read }));
  const cleanUp = stack.move();
  const version = (await client.run('nix', ['--version'])).stdout.trim();
  return {
    version,
    question: () => asker.question(path.join(connected.directory, 'subsets')),
    plan: (question) => asker.plan(question, true),
    compareDryRun: async (question) => {
      const plan = await asker.plan(question, options.planAsksForRealisations);
      assert.deepEqual(
        { builds: plan.builds, fetches: plan.fetches, unknown: plan.unknown },
        await dryRun(client, question),
        `asked for ${realiseArguments(question).join(' ')}`,
      );
      return plan;
    },
    build: async (question) => {
      await using fresh = await openClient();
      await rename(mix.internet, `${mix.internet}.gone`);
      try {
        const { exitCode, stderr } = await fresh.run(
          'nix-store',
          ['--realise', ...realiseArguments(question), '--option', 'trusted-public-keys', mix.publicKey],
          {
            exitCode: 'any',
          },
        );
        return { succeeded: exitCode === 0, said: stderr };
      } finally {
        await rename(`${mix.internet}.gone`, mix.internet);
      }
    },
    [Symbol.asyncDispose]: () => cleanUp.disposeAsync(),
  };
}

class Asker {
  readonly #options: OracleOptions;
  readonly #mix: DerivationMix;
  readonly #whole: WholeCache;
  readonly #graph: DerivationGraph;
  readonly #keysOf: RealisationKeysOf;
  readonly #present: ReadonlySet<string>;
  #questions = 0;

  constructor(
    options: OracleOptions,
    mix: DerivationMix,
    whole: WholeCache,
    graph: DerivationGraph,
    keysOf: RealisationKeysOf,
  ) {
    this.#options = options;
    this.#mix = mix;
    this.#whole = whole;
    this.#graph = graph;
    this.#keysOf = keysOf;
    this.#present = new Set(mix.derivationClosure);
  }

  async question(folder: string): Promise<Question> {
    const { random } = this.#options;
    const share = SHARES[Math.floor(random.next() * SHARES.length)] ?? 0;
    this.#questions += 1;
    const subset = await makeSubset(this.#whole, path.join(folder, String(this.#questions)), random, share);
    const targets = Array.from({ length: 1 + Math.floor(random.next() * 3) }, () => this.#target());
    return { subset, targets };
  }

  plan({ subset, targets }: Question, asksForRealisations: boolean): Promise<ClientPlan> {
    return planClient({
      graph: this.#graph,
      targets,
      isPresent: (storePath) => this.#present.has(storePath),
      find: async (storePath) => {
        const info = subset.infos.get(storePath);
        return info === undefined ? undefined : { references: info.references, signatureCounts: true };
      },
      realisation: asksForRealisations
        ? async (drvPath, outputName) => subset.realisation(await this.#keysOf(drvPath, outputName))
        : undefined,
    });
  }

  #target(): Target {
    const { random } = this.#options;
    const { derivations } = this.#mix;
    // What is made of many is asked for oftener.
    const index = Math.floor(Math.sqrt(random.next()) * derivations.length);
    const { drvPath, outputs } = derivations[index] ?? { drvPath: '', outputs: [] };
    const some = outputs.filter(() => random.next() < 0.6);
    return { drvPath: parseStorePath(drvPath, '/nix/store'), outputs: some.length === 0 ? outputs.slice(0, 1) : some };
  }
}

const SHARES: readonly number[] = [0, 0.02, 0.05, 0.1, 0.2, 0.4];

async function dryRun(client: NixEnvironment, question: Question) {
  const { stderr } = await client.run('nix-store', ['--realise', '--dry-run', ...realiseArguments(question)]);
  const lists = { builds: [] as string[], fetches: [] as string[], unknown: [] as string[] };
  let list: string[] | undefined;
  for (const line of stderr.split('\n')) {
    if (/^(these \d+ derivations|this derivation) will be built:$/.test(line)) list = lists.builds;
    else if (/^(these \d+ paths|this path) will be fetched/.test(line)) list = lists.fetches;
    else if (/^don't know how to build these paths/.test(line)) list = lists.unknown;
    else if (line.startsWith('  /nix/store/')) list?.push(line.trim());
    else if (line !== '') throw new Error(`Nix said something unexpected: ${stderr}`);
  }
  return { builds: lists.builds.toSorted(), fetches: lists.fetches.toSorted(), unknown: lists.unknown.toSorted() };
}

function realiseArguments({ subset, targets }: Question): string[] {
  return [
    ...targets.map(({ drvPath, outputs }) => `${drvPath}!${outputs.join(',')}`),
    '--option',
    'substituters',
    `file://${subset.directory}`,
  ];
}
