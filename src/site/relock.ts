import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import { writeFileAtomic } from '../base/files.ts';
import type { NixProgram } from '../evaluate/nix-command.ts';
import type { EvaluationInputsList } from '../mirror/evaluation-inputs.ts';
import type { RootEvaluationInput } from '../mirror/roots.ts';
import { type ChosenInput, chooseRevisions, isMoved, modifiedOf } from './choose-revisions.ts';
import { readDeclaredInputs } from './flake-references.ts';
import { formatLock, inputAt, type Lock, type LockNode, readLock } from './lock-file.ts';

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
  runNix(program: NixProgram, args: readonly string[], purpose: string): Promise<Buffer>;
}

export interface RelockResult {
  readonly changed: readonly RelockedInput[];
  /** Are at the newest revision already. */
  readonly unchanged: readonly string[];
  /** Inputs that stay as they are, for no shipment has brought any revision of them. Where one of these was never locked, nothing is changed. */
  readonly unresolved: readonly string[];
}

export interface RelockedInput {
  readonly name: string;
  /** Revision or hash; undefined for what was not locked before. */
  readonly from: string | undefined;
  readonly to: string;
}

/**
 * Moves inputs of a flake to the newest revisions that shipments have brought, whatever their type: Nix works out the new graph with the mirror's tarballs in their place; then the
 * lock is given back what the inputs really are, so that it holds outside as well. The lock stays as it was when anything fails.
 * @throws NixferryError `usage` for an input that the flake has not, and where there is no lock and nothing to make one of; `damage` when the mirror's tree is not what the lock would say; `nix-failed`.
 */
export async function relock(options: RelockOptions): Promise<RelockResult> {
  const { directory, inputs, list, url, runNix } = options;
  const file = join(directory, 'flake.lock');
  const before = await readLock(file);
  const declared = await readDeclared(options);
  const { chosen, unchanged, unresolved, canLock } = chooseRevisions(before.lock, { names: inputs, declared, list });
  if (!canLock) return { changed: [], unchanged, unresolved };
  const changed = chosen.filter(isMoved).map((input) => ({
    name: input.name,
    from: input.before === undefined ? undefined : revisionOf(input.before.locked),
    to: revisionOf(input.shipped.locked),
  }));
  const result = { changed, unchanged, unresolved };
  if (chosen.length === 0) {
    if (before.bytes === undefined) throw neverLocked(file);
    return result;
  }
  const overrides = chosen.flatMap(({ name, shipped }) => ['--override-input', name, tarballOf(shipped, url)]);
  try {
    await runNix('nix', [...FLAKES, 'flake', 'lock', directory, ...overrides], `locking ${directory}`);
    const { lock } = await readLock(file);
    for (const input of chosen) restore(lock, input);
    await writeFileAtomic(file, formatLock(lock));
    await runNix('nix', [...FLAKES, 'flake', 'metadata', directory, '--no-update-lock-file'], `checking ${file}`);
  } catch (error) {
    if (before.bytes === undefined) await rm(file, { force: true });
    else await writeFileAtomic(file, before.bytes);
    throw error;
  }
  return result;
}

// A machine with no network but loopback, or one whose LAN Nix takes for none, would fetch nothing.
const FLAKES = ['--extra-experimental-features', 'nix-command flakes', '--option', 'substitute', 'true'];

function neverLocked(file: string): NixferryError {
  return new NixferryError(
    'usage',
    `there is no ${file}, and nothing that the flake names is to be taken from a shipment`,
    {
      hint: 'what asks the registry is locked by Nix itself: nix flake lock; name the folder of another flake with --flake',
    },
  );
}

/** Evaluates nothing but the inputs. A flake.nix that cannot be read is told of when Nix locks it. */
async function readDeclared({ directory, runNix }: RelockOptions): Promise<ReturnType<typeof readDeclaredInputs>> {
  const file = join(directory, 'flake.nix');
  try {
    const args = [...FLAKES, 'eval', '--json', '--file', file, 'inputs'];
    return readDeclaredInputs(JSON.parse((await runNix('nix', args, `reading ${file}`)).toString('utf8')));
  } catch (error) {
    const isAnswer = error instanceof SyntaxError || (error instanceof NixferryError && error.code === 'nix-failed');
    if (!isAnswer) throw error;
    return new Map();
  }
}

function tarballOf(shipped: RootEvaluationInput, url: string): string {
  return `${url.replace(/\/+$/, '')}/sources/${modifiedOf(shipped)}/${shipped.path.slice(0, 32)}.tar.gz`;
}

/** What an input took in turn may be gone in the revision that was chosen: then there is nothing to say of it. */
function restore(lock: Lock, { name, shipped }: ChosenInput): void {
  const found = inputAt(lock, name);
  if (found === undefined || found === 'follows') return;
  if (found.locked?.['narHash'] !== shipped.locked?.['narHash']) {
    throw new NixferryError('damage', `the mirror's tree of ${name} is not what was locked when it was shipped`, {
      hint: 'type on the server: nixferry verify',
    });
  }
  found.locked = { ...shipped.locked };
  found.original = { ...shipped.original };
}

function revisionOf(locked: LockNode['locked']): string {
  const revision = locked?.['rev'] ?? locked?.['narHash'];
  return typeof revision === 'string' ? revision : 'unknown';
}
