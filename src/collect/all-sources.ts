import { createHash } from 'node:crypto';
import { appendFile, stat, truncate } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { explainWriteError } from '../base/errors.ts';
import { makeFolders, readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import { narNodeFromFileSystem } from '../evaluate/file-tree.ts';
import {
  type AttributePath,
  listPackages,
  locatePackages,
  type PackageWalkOptions,
  walkBatch,
} from '../evaluate/package-walk.ts';
import {
  formatContentAddress,
  hashBytes,
  NixFormatError,
  outputKind,
  parseContentAddress,
  parseDerivation,
  parseStorePath,
  type StorePath,
  writeNar,
} from '../nix/index.ts';
import { describeFixedSource, type FixedSource } from '../sources/fixed-source.ts';
import { MirrorLists, type ReadDerivation } from '../sources/mirror-lists.ts';

export interface AllSourcesOptions extends PackageWalkOptions {
  readonly storeDir: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Where what was found is written down, so that evaluating goes on where it stopped. All of it can be had again. */
  readonly cacheFolder: string;
  readonly onProgress: OnProgress;
}

/** A source, and a package that it goes into. */
export interface PackageSource extends FixedSource {
  readonly attribute: AttributePath;
}

export interface AllSources {
  readonly sources: readonly PackageSource[];
  /** Attributes that could not be evaluated. */
  readonly failed: readonly AttributePath[];
}

/**
 * Every fixed output that the packages of a set are built from, directly or not. Evaluates some attributes at a time, each lot in a process of
 * its own; what was evaluated is not evaluated again by the next run over the same files.
 * @throws NixferryError `nix-not-found`, `nix-failed` when not even the names can be listed.
 */
export async function findAllSources(options: AllSourcesOptions): Promise<AllSources> {
  const { onProgress, signal } = options;
  onProgress({ type: 'phase', phase: 'list packages' });
  const journal = await Journal.open(options.cacheFolder, await identify(options));
  const { store, storeDir, environment } = options;
  const read: ReadDerivation = (drvPath) => readFileIfExists(store.physical(drvPath), LIMITS.derivationBytes);
  const mirrorLists = new MirrorLists(read, storeDir, environment);
  const sources = new Map<StorePath, PackageSource>();
  const failed: AttributePath[] = [];
  const seen = new Set<StorePath>();
  const done = new Set<string>();
  const waiting: AttributePath[] = await listPackages(options);
  for (const entry of journal.entries) {
    for (const path of entry.paths) done.add(keyOf(path));
    for (const source of entry.sources) sources.set(source.storePath, source);
    waiting.push(...entry.inner);
    failed.push(...entry.failed);
  }
  onProgress({ type: 'phase', phase: 'evaluate packages', totalItems: waiting.length });
  while (waiting.length > 0) {
    signal.throwIfAborted();
    const batch: AttributePath[] = [];
    for (let path = waiting.shift(); path !== undefined; path = waiting.shift()) {
      if (!done.has(keyOf(path))) batch.push(path);
      if (batch.length >= LIMITS.packagesPerWalk) break;
    }
    if (batch.length === 0) break;
    const walked = await walkBatch(batch, options);
    const added: PackageSource[] = [];
    for (const { path: attribute, drvPath } of walked.derivations) {
      for (const source of await readFixedSources(drvPath, seen, options, read, mirrorLists)) {
        if (sources.has(source.storePath)) continue;
        sources.set(source.storePath, { ...source, attribute });
        added.push({ ...source, attribute });
      }
    }
    failed.push(...walked.failed);
    waiting.push(...walked.inner);
    await journal.add({ paths: walked.paths, inner: walked.inner, failed: walked.failed, sources: added });
    onProgress({ type: 'advance', items: batch.length });
  }
  return { sources: [...sources.values()], failed };
}

/** Follows derivations down from this one, each one once in all. */
async function readFixedSources(
  top: string,
  seen: Set<StorePath>,
  { storeDir }: AllSourcesOptions,
  read: ReadDerivation,
  mirrorLists: MirrorLists,
): Promise<FixedSource[]> {
  const found: FixedSource[] = [];
  const waiting = [parseStorePath(top, storeDir)];
  for (let drvPath = waiting.pop(); drvPath !== undefined; drvPath = waiting.pop()) {
    if (seen.has(drvPath)) continue;
    seen.add(drvPath);
    const bytes = await read(drvPath);
    if (bytes === undefined) continue;
    try {
      const derivation = parseDerivation(bytes, storeDir);
      waiting.push(...derivation.inputDerivations.keys());
      if ([...derivation.outputs.values()].every((output) => outputKind(output) !== 'fixed')) continue;
      const source = describeFixedSource(drvPath, derivation, storeDir);
      if (source !== undefined) found.push(await withPlainAddresses(source, mirrorLists));
    } catch (error) {
      if (!(error instanceof NixFormatError)) throw error;
    }
  }
  return found;
}

/** The derivations are gone by the time that a later run goes on. */
async function withPlainAddresses(source: FixedSource, mirrorLists: MirrorLists): Promise<FixedSource> {
  if (source.recipe === undefined) return source;
  const expanded = await mirrorLists.expand(source.recipe);
  const addresses = expanded.map((one) => ('url' in one ? one.url.href : one.text));
  return { ...source, recipe: { ...source.recipe, addresses, mirrorLists: undefined } };
}

interface JournalEntry extends Omit<AllSources, 'sources'> {
  readonly paths: readonly AttributePath[];
  readonly inner: readonly AttributePath[];
  readonly sources: readonly PackageSource[];
}

/** What was evaluated of one package set, a line for each lot. */
class Journal {
  readonly #file: string;
  readonly entries: readonly JournalEntry[];

  static async open(folder: string, identity: string): Promise<Journal> {
    const name = hashBytes('sha256', identity).slice('sha256:'.length, 'sha256:'.length + 32);
    const file = join(folder, `packages-${name}.jsonl`);
    const bytes = (await readFileIfExists(file, LIMITS.packageJournalBytes)) ?? Buffer.alloc(0);
    // A line that was being written when the machine went down is none.
    const whole = bytes.subarray(0, bytes.lastIndexOf(NEWLINE) + 1);
    if (whole.length < bytes.length) await truncate(file, whole.length);
    const lines = whole
      .toString('utf8')
      .split('\n')
      .filter((line) => line !== '');
    return new Journal(
      file,
      lines.flatMap((line) => parseEntry(line) ?? []),
    );
  }

  private constructor(file: string, entries: readonly JournalEntry[]) {
    this.#file = file;
    this.entries = entries;
  }

  async add(entry: JournalEntry): Promise<void> {
    const sources = entry.sources.map(({ address, ...source }) => ({
      ...source,
      address: formatContentAddress(address),
    }));
    try {
      await makeFolders(dirname(this.#file));
      await appendFile(this.#file, `${JSON.stringify({ ...entry, sources })}\n`);
    } catch (error) {
      throw explainWriteError(error, this.#file);
    }
  }
}

const NEWLINE = 0x0a;
const attributePath = z.array(z.string());

const entrySchema = z.object({
  paths: z.array(attributePath),
  inner: z.array(attributePath),
  failed: z.array(attributePath),
  sources: z.array(
    z.object({
      drvPath: z.string(),
      storePath: z.string(),
      address: z.string(),
      attribute: attributePath,
      recipe: z
        .object({
          form: z.enum(['file', 'executable', 'nar', 'tree']),
          addresses: z.array(z.string()),
        })
        .optional(),
    }),
  ),
});

function parseEntry(line: string): JournalEntry | undefined {
  try {
    const { sources, ...entry } = entrySchema.parse(JSON.parse(line));
    return {
      ...entry,
      sources: sources.map(({ drvPath, storePath, address, attribute, recipe }) => ({
        attribute,
        drvPath: drvPath as StorePath,
        storePath: storePath as StorePath,
        address: parseContentAddress(address),
        recipe: recipe && { ...recipe, mirrorLists: undefined },
      })),
    };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError || error instanceof NixFormatError)
      return undefined;
    throw error;
  }
}

/** Changes with the files of the set, and with what Nix is told. */
async function identify(options: AllSourcesOptions): Promise<string> {
  const { settings, system, storeDir } = options;
  const place = await locatePackages(options);
  const files = place.startsWith(`${storeDir}/`) ? place : await hashTree(place);
  return JSON.stringify([FORMAT, files, settings.arguments, system]);
}

const FORMAT = 2;

async function hashTree(place: string): Promise<string> {
  const folder = (await stat(place)).isDirectory() ? place : dirname(place);
  const digest = createHash('sha256');
  for await (const chunk of writeNar(await narNodeFromFileSystem(folder))) digest.update(chunk);
  return digest.digest('hex');
}

function keyOf(path: AttributePath): string {
  return JSON.stringify(path);
}
