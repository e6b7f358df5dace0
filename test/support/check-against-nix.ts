// Compares what we say a client does with a mirror with what real Nix says (`nix-store --realise --dry-run`), and with what becomes of it.

import assert from 'node:assert/strict';
import { readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { clientAccepts } from '../../src/closure/client-accepts.ts';
import { type ClientPlan, planClient } from '../../src/closure/client-plan.ts';
import { type DerivationGraph, loadDerivationGraph } from '../../src/closure/derivation-graph.ts';
import { type RealisationKeysOf, realisationKeys } from '../../src/closure/realisation-keys.ts';
import type { Target } from '../../src/closure/scopes.ts';
import { type PublicKey, parsePublicKey, parseStorePath, type StorePath } from '../../src/nix/index.ts';
import { type DerivationMix, MIX_CONFIG, makeDerivationMix } from './derivation-mix.ts';
import { type CacheSubset, makeSubset, readWholeCache, type WholeCache } from './mirror-subset.ts';
import { createNixEnvironment, type NixEnvironment } from './nix.ts';
import type { Random } from './random.ts';

export interface Oracle extends AsyncDisposable {
  readonly version: string;
  /**
   * Asks for random outputs of a random part of the mirror. Fails unless Nix says in a dry run that it would build, fetch and not know the same.
   * Resolves to whether nothing is missing.
   */
  compareDryRun(): Promise<boolean>;
  /**
   * Asks likewise, some paths without signatures, and has Nix build: without the internet, in a new store that holds nothing but the `.drv` files.
   * Fails unless Nix succeeds exactly where nothing is missing. Resolves to whether it did; `unclear` where it depends on what Nix happens
   * to do first, or where Nix crashes.
   */
  compareBuild(): Promise<boolean | 'unclear'>;
}

interface Question {
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
  const build = async (question: Question) => {
    await using fresh = await openClient();
    await rename(mix.internet, `${mix.internet}.gone`);
    try {
      const trust = ['--option', 'trusted-public-keys', mix.publicKey];
      const args = ['--realise', ...realiseArguments(question), ...trust];
      return await fresh.run('nix-store', args, { exitCode: 'any', timeoutMs: 300_000 });
    } finally {
      await rename(`${mix.internet}.gone`, mix.internet);
    }
  };
  return {
    version,
    compareDryRun: async () => {
      const question = await asker.question(path.join(connected.directory, 'subsets'), 0);
      const plan = await asker.plan(question, options.planAsksForRealisations);
      const ours = { builds: plan.builds, fetches: plan.fetches, unknown: plan.unknown };
      const asked = realiseArguments(question).join(' ');
      assert.deepEqual(ours, await dryRun(client, question), `asked for ${asked}`);
      return plan.missing.length === 0;
    },
    compareBuild: async () => {
      const question = await asker.question(path.join(connected.directory, 'subsets'), UNSIGNED_SHARE);
      const plan = await asker.plan(question, true);
      const { exitCode, stderr } = await build(question);
      const succeeded = exitCode === 0 || onlyPrintingFailed(stderr);
      const suffices = plan.missing.length === 0;
      // Nix 2.8, where some outputs of a floating derivation come from a cache and others do not.
      if (NIX_LOST_AN_OUTPUT.test(stderr)) return 'unclear';
      // What is built because substitution is off may also come as a reference of something else, sooner or later.
      const fetched = new Set(plan.fetches);
      const builtOutputs = plan.builds.flatMap((drvPath) => graph.find(drvPath)?.outputs ?? []);
      const came = (out: StorePath): boolean => fetched.has(out) || stderr.includes(`copying path '${out}'`);
      // And what is missing as a reference may have been built for another reason before.
      const wasBuilt = (out: StorePath): boolean => buildsOf(out).test(stderr);
      const byChance =
        builtOutputs.some(({ path: out }) => out !== undefined && came(out)) ||
        plan.missing.some(({ path: out, kind }) => kind === 'path' && wasBuilt(out));
      if (succeeded && !suffices && byChance) return 'unclear';
      assert.equal(succeeded, suffices, `${JSON.stringify(plan.missing)}\nNix said: ${stderr}`);
      return suffices;
    },
    [Symbol.asyncDispose]: () => cleanUp.disposeAsync(),
  };
}

/** In words of Nix 2.8, each for the same thing that it does not get right. */
const NIX_LOST_AN_OUTPUT = /error: (map::at|.*requires non-existent output|.*has no store path mapped to it)/;

/** What Nix says when it builds the floating derivation of which this is an output: of the mix, `n7` and `n7-dev` come from `n7.drv`. */
function buildsOf(output: StorePath): RegExp {
  const [, name] = /-(n\d+)(?:-\w+)?$/.exec(output) ?? [];
  return new RegExp(`building '/nix/store/[^']*-${name}\\.drv'`);
}

/** Of the paths in a mirror that is built from. */
const UNSIGNED_SHARE = 0.03;

class Asker {
  readonly #options: OracleOptions;
  readonly #mix: DerivationMix;
  readonly #whole: WholeCache;
  readonly #graph: DerivationGraph;
  readonly #keysOf: RealisationKeysOf;
  readonly #present: ReadonlySet<string>;
  readonly #keys: readonly PublicKey[];
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
    this.#keys = [parsePublicKey(mix.publicKey)];
  }

  async question(folder: string, unsignedShare: number): Promise<Question> {
    const { random } = this.#options;
    const removedShare = SHARES[Math.floor(random.next() * SHARES.length)] ?? 0;
    this.#questions += 1;
    const directory = path.join(folder, String(this.#questions));
    const subset = await makeSubset({ whole: this.#whole, directory, random, removedShare, unsignedShare });
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
        return info === undefined
          ? undefined
          : { references: info.references, signatureCounts: clientAccepts(info, this.#keys) };
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
    else if (line.startsWith("don't know how to build these paths")) list = lists.unknown;
    else if (line.startsWith('  /nix/store/')) list?.push(line.trim());
    else if (line !== '') throw new Error(`Nix said something unexpected: ${stderr}`);
  }
  return { builds: lists.builds.toSorted(), fetches: lists.fetches.toSorted(), unknown: lists.unknown.toSorted() };
}

/** After having built outputs of floating and impure derivations, `nix-store` fails to print where some of them are. */
function onlyPrintingFailed(stderr: string): boolean {
  const errors = stderr.split('\n').filter((line) => line.startsWith('error: '));
  return errors.length === 1 && /has no store path mapped to it|cannot operate on output/.test(errors[0] ?? '');
}

function realiseArguments({ subset, targets }: Question): string[] {
  return [
    ...targets.map(({ drvPath, outputs }) => `${drvPath}!${outputs.join(',')}`),
    '--option',
    'substituters',
    `file://${subset.directory}`,
  ];
}
