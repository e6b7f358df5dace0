import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import { findProgram } from '../base/find-program.ts';
import { HARMLESS_GIT_FLAWS } from '../base/git-flaws.ts';
import { GitFailed, runGit } from '../base/git-program.ts';

export interface PackToCheck {
  /** Ends in `.pack`. */
  readonly pack: string;
  /** Made anew: what a shipment brought beside the pack is not believed. */
  readonly index: string;
  /** The folder `objects` of the repository that it adds to, whether there already or not. */
  readonly objectsFolder: string;
  /** What the pack is of, for messages. */
  readonly what: string;
}

/**
 * Has git look at each object of a pack as `git fsck` does: what it is named and made of (no tree holds `..` or `.git`), and whether what it refers to is
 * there. Where git is not installed, nothing is looked at. Throws `damage` with what git said.
 */
export async function checkPack(
  { pack, index, objectsFolder, what }: PackToCheck,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (findProgram('git') === undefined) return;
  const repository = `${pack}-check.git`;
  try {
    await makeRepository(repository, objectsFolder);
    await rm(index, { force: true });
    const strict = `--strict=${HARMLESS_GIT_FLAWS.map((flaw) => `${flaw}=warn`).join(',')}`;
    await runGit({
      args: ['index-pack', strict, '-o', index, pack],
      purpose: `checking ${what}`,
      repository,
      // Only what is set here decides what is a flaw.
      environment: { GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null' },
      signal,
    });
  } catch (error) {
    if (!(error instanceof GitFailed)) throw error;
    throw new NixferryError('damage', `${what} holds what git refuses: ${error.message}`, {
      hint: 'nothing of it is shown; tell the sender, who should look at the repository with git fsck',
      cause: error,
    });
  } finally {
    await rm(repository, { recursive: true, force: true });
  }
}

/** A repository without anything of its own, in which the objects of another one count. */
async function makeRepository(folder: string, objectsFolder: string): Promise<void> {
  await mkdir(join(folder, 'objects/info'), { recursive: true });
  await mkdir(join(folder, 'refs'));
  await writeFile(join(folder, 'HEAD'), 'ref: refs/heads/main\n');
  await writeFile(join(folder, 'config'), '[core]\n\trepositoryformatversion = 0\n\tbare = true\n');
  const isThere = await stat(objectsFolder).then(
    () => true,
    () => false,
  );
  if (isThere) await writeFile(join(folder, 'objects/info/alternates'), `${objectsFolder}\n`);
}
