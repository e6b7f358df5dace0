import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { readFileIfExists, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { NixProgram } from '../evaluate/nix-command.ts';
import type { EvaluationInputsList } from '../mirror/evaluation-inputs.ts';
import type { FlakeReference, RootEvaluationInput } from '../mirror/roots.ts';

export interface RelockOptions {
  /** Holds flake.nix and flake.lock. */
  readonly directory: string;
  /** Inputs of the flake's own; all unless named. */
  readonly inputs: readonly string[];
  /** Which revisions were shipped. */
  readonly list: EvaluationInputsList;
  /** Where the mirror is served. */
  readonly url: string;
  /** Runs Nix; throws NixferryError `nix-failed` when it exits non-zero. */
  runNix(program: NixProgram, args: readonly string[], purpose: string): Promise<unknown>;
}

export interface RelockResult {
  readonly changed: readonly RelockedInput[];
  /** Are at the newest revision already. */
  readonly unchanged: readonly string[];
  /** Inputs that stay as they are, for no shipment has brought any revision of them. */
  readonly unresolved: readonly string[];
}

export interface RelockedInput {
  readonly name: string;
  /** Revision or hash. */
  readonly from: string;
  readonly to: string;
}

/**
 * Moves inputs of a flake to the newest revisions that shipments have brought, whatever their type: Nix works out the new graph with the mirror's tarballs in their place; then the
 * lock is given back what the inputs really are, so that it holds outside as well. The lock stays as it was when anything fails.
 * @throws NixferryError `usage` without a lock or for an input that it has not; `damage` when the mirror's tree is not what the lock would say; `nix-failed`.
 */
export async function relock(options: RelockOptions): Promise<RelockResult> {
  const { directory, url, runNix } = options;
  const file = join(directory, 'flake.lock');
  const before = await readLock(file);
  const choice = chooseRevisions(before.lock, options);
  const { changed } = choice;
  const result = {
    changed: changed.map(({ name, node, shipped }) => ({
      name,
      from: revisionOf(node.locked),
      to: revisionOf(shipped.locked),
    })),
    unchanged: choice.unchanged,
    unresolved: choice.unresolved,
  };
  if (changed.length === 0) return result;
  const overrides = changed.flatMap(({ name, shipped }) => ['--override-input', name, tarballOf(shipped, url)]);
  try {
    await runNix('nix', [...FLAKES, 'flake', 'lock', directory, ...overrides], `locking ${directory}`);
    const { lock } = await readLock(file);
    for (const { name, node, shipped } of changed) restore(lock, name, node, shipped);
    await writeFileAtomic(file, `${JSON.stringify(lock, undefined, 2)}\n`);
    await runNix('nix', [...FLAKES, 'flake', 'metadata', directory, '--no-update-lock-file'], `checking ${file}`);
  } catch (error) {
    await writeFileAtomic(file, before.bytes);
    throw error;
  }
  return result;
}

// A machine with no network but loopback, or one whose LAN Nix takes for none, would fetch nothing.
const FLAKES = ['--extra-experimental-features', 'nix-command flakes', '--option', 'substitute', 'true'];

const node = z.looseObject({
  inputs: z.record(z.string(), z.union([z.string(), z.array(z.string())])).optional(),
  locked: z.record(z.string(), z.unknown()).optional(),
  original: z.record(z.string(), z.unknown()).optional(),
});
const lockFile = z.looseObject({ nodes: z.record(z.string(), node), root: z.string() });
type Lock = z.infer<typeof lockFile>;
type LockNode = z.infer<typeof node>;

async function readLock(file: string): Promise<{ readonly bytes: Buffer; readonly lock: Lock }> {
  const bytes = await readFileIfExists(file, LIMITS.configBytes * 16);
  if (bytes === undefined) {
    throw new NixferryError('usage', `there is no ${file}`, {
      hint: 'name the folder of a flake that was locked; one that never was takes its inputs from the mirror by name: inputs.nixpkgs.url = "nixpkgs"',
    });
  }
  const lock = lockFile.safeParse(parseJson(bytes));
  if (lock.success) return { bytes, lock: lock.data };
  throw new NixferryError('damage', `${file} is no lock of a flake: ${lock.error.issues[0]?.message ?? 'not JSON'}`);
}

interface ChosenInput {
  readonly name: string;
  readonly node: LockNode;
  readonly shipped: RootEvaluationInput;
}

function chooseRevisions(lock: Lock, { inputs, list }: RelockOptions) {
  const own = lock.nodes[lock.root]?.inputs ?? {};
  for (const name of inputs) {
    if (own[name] !== undefined) continue;
    const hint = `it has: ${Object.keys(own).join(', ')}`;
    throw new NixferryError('usage', `the flake has no input ${name} in its lock`, { hint });
  }
  const changed: ChosenInput[] = [];
  const unchanged: string[] = [];
  const unresolved: string[] = [];
  for (const [name, key] of Object.entries(own)) {
    const found = typeof key === 'string' ? lock.nodes[key] : undefined;
    // What follows another input is that one, and a folder beside the flake moves with it.
    if (found?.locked === undefined || found.original?.['type'] === 'path') continue;
    if (inputs.length > 0 && !inputs.includes(name)) continue;
    const shipped = newestOf(found, list);
    if (shipped === undefined) unresolved.push(name);
    else if (shipped.locked?.['narHash'] === found.locked['narHash']) unchanged.push(name);
    else changed.push({ name, node: found, shipped });
  }
  return { changed, unchanged, unresolved };
}

/** Of all that was asked for in the same words, what was modified last. */
function newestOf({ original }: LockNode, { roots }: EvaluationInputsList): RootEvaluationInput | undefined {
  const shipped = roots
    .flatMap(({ inputs }) => inputs)
    .filter((input) => input.locked !== undefined && isDeepStrictEqual({ ...input.original }, { ...original }));
  return shipped.toSorted((a, b) => modifiedOf(b) - modifiedOf(a))[0];
}

function modifiedOf({ locked }: RootEvaluationInput): number {
  const modified = locked?.['lastModified'];
  return typeof modified === 'number' ? modified : 1;
}

function tarballOf(shipped: RootEvaluationInput, url: string): string {
  return `${url.replace(/\/+$/, '')}/sources/${modifiedOf(shipped)}/${shipped.path.slice(0, 32)}.tar.gz`;
}

function restore(lock: Lock, name: string, before: LockNode, { locked }: RootEvaluationInput): void {
  const key = lock.nodes[lock.root]?.inputs?.[name];
  const changed = typeof key === 'string' ? lock.nodes[key] : undefined;
  if (changed?.locked?.['narHash'] !== locked?.['narHash'] || changed === undefined) {
    throw new NixferryError('damage', `the mirror's tree of ${name} is not what was locked when it was shipped`, {
      hint: 'type on the server: nixferry verify',
    });
  }
  changed.locked = { ...locked };
  changed.original = { ...before.original };
}

function revisionOf(locked: FlakeReference | LockNode['locked']): string {
  const revision = locked?.['rev'] ?? locked?.['narHash'];
  return typeof revision === 'string' ? revision : 'unknown';
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
