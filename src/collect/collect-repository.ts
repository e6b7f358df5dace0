import { randomBytes } from 'node:crypto';
import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { formatBytes } from '../base/amounts.ts';
import { NixferryError } from '../base/errors.ts';
import { areSameRefs, type GitRef } from '../base/git-refs.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { readRepositoryPointer, showRepository } from '../mirror/repositories.ts';
import { repositoryFile } from '../mirror/repository-address.ts';
import { listBundles, type RepositoryState, readRepositoryState } from '../mirror/repository-bundle.ts';
import type { RootRepository } from '../mirror/roots.ts';
import type { StorePathBaseName } from '../nix/index.ts';
import { fetchRepository, listRepository, openWorkshop, packObjects } from '../upstream/git-repository.ts';
import { publishBundle, treeOf } from './publish-bundle.ts';
import type { WantedRepository } from './resolve-roots.ts';

export interface CollectRepositoriesInputs {
  readonly mirror: Mirror;
  readonly onProgress: OnProgress;
  /** File of all authorities that count for https; where none is given, those of git do. */
  readonly certificates?: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * Brings one repository into the mirror and shows it there: one that has not changed is only asked for its branches. Throws `program-missing`, `no-space`,
 * `upstream-unreachable`, `upstream-incomplete`; `bad-root` where it has no such branch or tag.
 */
export async function collectRepository(
  wanted: WantedRepository,
  inputs: CollectRepositoriesInputs,
): Promise<RootRepository> {
  const { mirror, onProgress, certificates, signal } = inputs;
  const { url, place, ref, isAnonymous } = wanted;
  const remote = { url, isAnonymous, certificates };
  onProgress({ type: 'phase', phase: `asking for the repository ${url}` });
  const listed = await listRepository({ ...remote, signal });
  const names = ref === undefined ? 'all' : [findRef(listed.refs, ref, url)];
  const offered = names === 'all' ? listed.refs : listed.refs.filter(({ name }) => names.includes(name));
  const offeredState = { head: chooseHead(listed.head, offered), refs: offered };
  if (offered.length === 0) throw nothingThere(url);
  const known = await readKnown(mirror, wanted, signal);
  const here = known?.own;
  if (here !== undefined && isSameState(here.state, offeredState))
    return showAndGive(mirror, wanted, here.path, signal);

  onProgress({ type: 'phase', phase: `fetching the repository ${url}` });
  const folder = join(mirror.layout.tempFolder, `repository-${randomBytes(12).toString('hex')}`);
  const workshop = { folder: join(folder, 'work.git'), signal };
  await mkdir(workshop.folder, { recursive: true });
  try {
    const objectsFolder = join(mirror.directory, repositoryFile(place, 'objects'));
    await openWorkshop(workshop, known === undefined ? undefined : { objectsFolder, refs: known.refs });
    const refs = await fetchRepository(workshop, remote, names);
    if (refs.length === 0) throw nothingThere(url);
    const state = { head: chooseHead(listed.head, refs), refs };
    if (here !== undefined && isSameState(here.state, state))
      return await showAndGive(mirror, wanted, here.path, signal);
    const before = here === undefined || here.bundles >= LIMITS.gitBundlesChained ? undefined : here;
    const beforeIds = before?.state.refs.map(({ id }) => id) ?? [];
    const pack = join(folder, 'repository.pack');
    await packObjects(workshop, refs, beforeIds, pack);
    const tree = await treeOf(state, beforeIds, pack);
    const path = await publishBundle(tree, { place, before: before?.path, mirror, signal });
    const { size } = await stat(pack);
    const message = `the repository ${url}: ${before === undefined ? 'all of it' : 'what is new'} is packed in ${formatBytes(size)}`;
    onProgress({ type: 'notice', message });
    return await showAndGive(mirror, wanted, path, signal);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface KnownRepository {
  /** What the mirror shows of it, whatever root brought it. */
  readonly refs: readonly GitRef[];
  /** The last bundle of the same choice of branches. */
  readonly own:
    | { readonly path: StorePathBaseName; readonly state: RepositoryState; readonly bundles: number }
    | undefined;
}

async function readKnown(
  mirror: Mirror,
  { place, ref }: WantedRepository,
  signal: AbortSignal,
): Promise<KnownRepository | undefined> {
  const pointer = await readRepositoryPointer(mirror, place);
  if (pointer === undefined) return undefined;
  const refs: GitRef[] = [];
  let own: KnownRepository['own'];
  for (const shown of pointer.states) {
    const state = await readRepositoryState(mirror, shown.path, signal);
    // What is damaged is not built on.
    if (state === undefined) return undefined;
    refs.push(...state.refs);
    if (shown.ref === ref) own = { path: shown.path, state, bundles: (await listBundles(mirror, shown.path)).length };
  }
  return { refs, own };
}

async function showAndGive(
  mirror: Mirror,
  { url, place, ref }: WantedRepository,
  path: StorePathBaseName,
  signal: AbortSignal,
): Promise<RootRepository> {
  const repository = { url, place, ...(ref === undefined ? {} : { ref }), path };
  await showRepository(mirror, repository, { isChecked: true, signal });
  return repository;
}

function findRef(refs: readonly GitRef[], ref: string, url: string): string {
  const candidates = [ref, `refs/heads/${ref}`, `refs/tags/${ref}`];
  const found = candidates.find((candidate) => refs.some(({ name }) => name === candidate));
  if (found !== undefined) return found;
  throw new NixferryError('bad-root', `${url} has no branch or tag ${ref}`, {
    hint: `see what it has: git ls-remote ${url}`,
  });
}

function chooseHead(head: string | undefined, refs: readonly GitRef[]): string {
  const branches = refs.map(({ name }) => name).filter((name) => name.startsWith('refs/heads/'));
  const [first = 'refs/heads/main'] = branches;
  return branches.find((name) => name === head) ?? first;
}

function isSameState(one: RepositoryState, other: RepositoryState): boolean {
  return one.head === other.head && areSameRefs(one.refs, other.refs);
}

function nothingThere(url: string): NixferryError {
  return new NixferryError('upstream-incomplete', `${url} is a repository without any branch or tag`, {
    hint: 'push something to it first',
  });
}
