import { NixferryError } from '../base/errors.ts';
import type { RootRepository } from '../mirror/roots.ts';
import { storePathFromBaseName } from '../nix/index.ts';
import { type CollectRepositoriesInputs, collectRepository } from './collect-repository.ts';
import type { ResolvedRoot, WantedRepository } from './resolve-roots.ts';

/** A repository that could not be had, and the roots that are not complete without it. */
export interface RepositoryProblem {
  readonly url: string;
  readonly detail: string;
  /** What to do about it. */
  readonly next?: string | undefined;
  readonly blocks: readonly string[];
}

export interface CollectedRepositories {
  /** With what is in the mirror now. A root that is nothing but a repository which could not be had is left out: what is here of it stays as it is. */
  readonly roots: readonly ResolvedRoot[];
  readonly problems: readonly RepositoryProblem[];
}

/**
 * Brings the repositories that roots want into the mirror, each once, as bundles of what is new of them: one that has not changed is only asked for its
 * branches. One that cannot be had keeps nothing else back. Throws `program-missing`, `no-space`, `damage`.
 */
export async function collectRepositories(
  roots: readonly ResolvedRoot[],
  inputs: CollectRepositoriesInputs,
): Promise<CollectedRepositories> {
  const had = new Map<string, RootRepository>();
  const failed = new Map<string, RepositoryProblem & { readonly blocks: string[] }>();
  for (const root of roots) {
    for (const wanted of root.wantedRepositories ?? []) {
      const key = keyOf(wanted);
      if (!had.has(key) && !failed.has(key)) {
        try {
          had.set(key, await collectRepository(wanted, inputs));
        } catch (error) {
          inputs.signal.throwIfAborted();
          if (!(error instanceof NixferryError) || !OF_ONE.has(error.code)) throw error;
          failed.set(key, { url: wanted.url, detail: error.message, next: error.hint, blocks: [] });
        }
      }
      failed.get(key)?.blocks.push(root.name);
    }
  }
  const changed = roots.flatMap((root) => withRepositories(root, had, inputs.mirror.storeDir) ?? []);
  return { roots: changed, problems: [...failed.values()] };
}

const OF_ONE: ReadonlySet<string> = new Set(['upstream-unreachable', 'upstream-incomplete', 'bad-root']);

function keyOf({ place, ref = '' }: WantedRepository): string {
  return `${place} ${ref}`;
}

function withRepositories(
  root: ResolvedRoot,
  had: ReadonlyMap<string, RootRepository>,
  storeDir: string,
): ResolvedRoot | undefined {
  const { wantedRepositories } = root;
  if (wantedRepositories === undefined) return root;
  const repositories = wantedRepositories.flatMap((wanted) => had.get(keyOf(wanted)) ?? []);
  const isOnlyThese = root.paths.length === 0 && root.targets.length === 0;
  if (isOnlyThese && repositories.length === 0) return undefined;
  const paths = isOnlyThese ? repositories.map(({ path }) => storePathFromBaseName(path, storeDir)) : root.paths;
  return { ...root, paths, repositories, lacksRepositories: repositories.length < wantedRepositories.length };
}
