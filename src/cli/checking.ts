import { lstatSync } from 'node:fs';
import type { OnProgress } from '../base/progress.ts';
import { type CheckRequest, createChecker } from '../closure/check.ts';
import { derivationFiles } from '../closure/derivation-files.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { derivationReader } from '../mirror/read-derivation.ts';
import { type RootRecord, readRoots } from '../mirror/roots.ts';
import { type PublicKey, type StorePath, storePathFromBaseName } from '../nix/index.ts';
import type { CheckedRoot } from './check-report.ts';

// What check and export share: roots as a request to check.

export interface CheckingOptions {
  readonly mirror: Mirror;
  /** What clients trust. */
  readonly keys: readonly PublicKey[];
  readonly alwaysAllowSubstitutes?: boolean | undefined;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

/** Something to check that has a name to show. */
export interface NamedRequest {
  readonly name: string;
  readonly record: RootRecord | undefined;
  readonly request: CheckRequest;
}

/**
 * Checks one after the other what each asks for. `.drv` files come from the mirror, and where it has not got one, from the store of this machine,
 * as a file: its path proves it. What this store has of the sources of such a one is not missing, since evaluating put it there.
 */
export async function checkAll(requests: readonly NamedRequest[], options: CheckingOptions): Promise<CheckedRoot[]> {
  const { mirror, signal } = options;
  const localStore = {
    read: derivationFiles(mirror.storeDir),
    has: (path: StorePath) => lstatSync(path, { throwIfNoEntry: false }) !== undefined,
  };
  const check = createChecker({ ...options, read: derivationReader(mirror, signal), localStore });
  const imported = (await readRoots(mirror)).filter(({ origin }) => origin === 'imported');
  const checked: CheckedRoot[] = [];
  for (const { name, record, request } of requests) {
    checked.push({ name, record, imported, result: await check(request), mirrorDirectory: mirror.directory });
  }
  options.onProgress({ type: 'phase', phase: '' });
  return checked;
}

/** What the record of a root says that clients should be able to have. */
export function requestOfRecord(record: RootRecord, storeDir: string): NamedRequest {
  const full = (baseName: string): StorePath => storePathFromBaseName(baseName, storeDir);
  const { name, scope, rootPaths, paths, targets = [], evaluationInputs = [] } = record;
  return {
    name,
    record,
    request: {
      scope,
      targets: targets.map(({ derivation, outputs, variant }) => ({ drvPath: full(derivation), outputs, variant })),
      paths: rootPaths.map(full),
      evaluationInputs: evaluationInputs.map(({ path }) => full(path)),
      recorded: paths.map(full),
    },
  };
}
