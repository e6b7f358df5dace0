import { createHash } from 'node:crypto';
import { mkdir, readdir, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { explainWriteError, NixferryError } from '../base/errors.ts';
import type { OnProgress } from '../base/progress.ts';
import type { NixProgram } from '../evaluate/nix-command.ts';
import type { RootInputs } from '../mirror/evaluation-inputs.ts';

export interface PrimeOptions {
  readonly roots: readonly RootInputs[];
  readonly storeDir: string;
  /** Holds a folder of links for each root; Nix takes them for GC roots. Made when it is not there. */
  readonly linksFolder: string;
  /** Runs Nix; throws NixferryError `nix-failed` when it exits non-zero. */
  runNix(program: NixProgram, args: readonly string[], purpose: string): Promise<unknown>;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

export interface PrimedRoot {
  readonly id: string;
  readonly name: string;
  /** How many of its inputs the local store holds now. */
  readonly pathCount: number;
  readonly missing: readonly MissingInput[];
}

export interface MissingInput {
  readonly name: string;
  /** In full. */
  readonly path: string;
  /** What Nix said last. */
  readonly reason: string;
}

/**
 * Fetches what evaluating the roots reads into the local store, as Nix itself fetches: from its substituters, with their signatures. Nix of before 2.32 does
 * not do so by itself for `fetchTarball`, and collects as garbage what no GC root holds. Links of a root to what it no longer reads are
 * removed, once all that it reads now is there. Throws `no-space` and what `runNix` throws for other reasons than a failed Nix.
 */
export async function prime(options: PrimeOptions): Promise<PrimedRoot[]> {
  const primed: PrimedRoot[] = [];
  for (const root of options.roots) primed.push(await primeRoot(options, root));
  return primed;
}

async function primeRoot(options: PrimeOptions, root: RootInputs): Promise<PrimedRoot> {
  const { storeDir, linksFolder, onProgress } = options;
  const names = new Map(root.inputs.map(({ name, path }) => [`${storeDir}/${path}`, name]));
  const paths = [...names.keys()].toSorted();
  const folder = join(linksFolder, root.id);
  await makeLinksFolder(folder);
  onProgress({ type: 'phase', phase: `fetching what ${root.name} reads`, totalItems: paths.length });
  const missing: MissingInput[] = [];
  for (let start = 0; start < paths.length; start += PATHS_AT_ONCE) {
    const batch = paths.slice(start, start + PATHS_AT_ONCE);
    if ((await realise(options, root, folder, batch)) !== undefined) {
      for (const path of batch) {
        const reason = await realise(options, root, folder, [path]);
        if (reason !== undefined) missing.push({ name: names.get(path) ?? path, path, reason });
      }
    }
    onProgress({ type: 'advance', items: batch.length });
  }
  if (missing.length === 0) await removeOtherLinks(folder, names);
  return { id: root.id, name: root.name, pathCount: paths.length - missing.length, missing };
}

// As many as fit onto a command line many times over.
const PATHS_AT_ONCE = 100;

/** Resolves to what Nix complained of. */
async function realise(
  { runNix, signal }: PrimeOptions,
  root: RootInputs,
  folder: string,
  paths: readonly string[],
): Promise<string | undefined> {
  signal.throwIfAborted();
  // For several paths Nix adds -2, -3 …: the same paths have the same links, whatever else the root reads.
  const link = join(folder, createHash('sha256').update(paths.join('\n')).digest('hex').slice(0, 32));
  const args = ['--realise', ...paths, '--add-root', link, '--indirect', '--quiet'];
  try {
    await runNix('nix-store', args, `fetching what ${root.name} reads`);
    return undefined;
  } catch (error) {
    if (!(error instanceof NixferryError) || error.code !== 'nix-failed') throw error;
    return error.message.trim().split('\n').at(-1) ?? error.message;
  }
}

async function makeLinksFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw explainWriteError(error, folder);
  }
}

async function removeOtherLinks(folder: string, wanted: ReadonlyMap<string, unknown>): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const link = join(folder, entry.name);
    if (entry.isSymbolicLink() && !wanted.has(await readlink(link))) await rm(link);
  }
}
