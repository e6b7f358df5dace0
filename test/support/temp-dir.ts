// test/support holds what the journeys share: child processes, namespaces without internet, real Nix in a store of its
// own. It may import anything of Nixferry; of src only unit tests import it.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface TempDir extends AsyncDisposable {
  readonly path: string;
  join(...names: readonly string[]): string;
}

/** A folder of its own under the system's temp folder; gone after `await using`, whatever permissions were set in it. */
export async function makeTempDir(name = 'test'): Promise<TempDir> {
  const directory = await mkdtemp(path.join(tmpdir(), `nixferry-${name}-`));
  return {
    path: directory,
    join: (...names) => path.join(directory, ...names),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true, maxRetries: 3 }),
  };
}
