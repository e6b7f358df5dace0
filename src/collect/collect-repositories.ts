import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import { areSameRefs, formatBundleHead, formatInfoRefs, type GitRef } from '../base/git-refs.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { composeNar } from '../mirror/nar-compose.ts';
import { withIntakenNar } from '../mirror/nar-intake.ts';
import { publish } from '../mirror/publish.ts';
import { readRepositoryPointer, showRepository } from '../mirror/repositories.ts';
import { repositoryFile } from '../mirror/repository-address.ts';
import { BUNDLE_FILES, listBundles, type RepositoryState, readRepositoryState } from '../mirror/repository-bundle.ts';
import type { RootRepository } from '../mirror/roots.ts';
import {
  baseNameOf,
  formatContentAddress,
  makeSourcePath,
  type NarNode,
  type StorePath,
  type StorePathBaseName,
  storePathFromBaseName,
  writeNar,
} from '../nix/index.ts';
import { fetchRepository, listRepository, openWorkshop, packObjects } from '../upstream/git-repository.ts';
import type { ResolvedRoot, WantedRepository } from './resolve-roots.ts';

export interface CollectRepositoriesInputs {
  readonly mirror: Mirror;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

/** A repository that could not be had, and the roots that are not complete without it. */
export interface RepositoryProblem {
  readonly url: string;
  readonly detail: string;
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
  const failed = new Map<string, { readonly url: string; readonly detail: string; readonly blocks: string[] }>();
  for (const root of roots) {
    for (const wanted of root.wantedRepositories ?? []) {
      const key = keyOf(wanted);
      if (!had.has(key) && !failed.has(key)) {
        try {
          had.set(key, await collectRepository(wanted, inputs));
        } catch (error) {
          inputs.signal.throwIfAborted();
          if (!(error instanceof NixferryError) || !OF_ONE.has(error.code)) throw error;
          failed.set(key, { url: wanted.url, detail: error.message, blocks: [] });
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

async function collectRepository(wanted: WantedRepository, inputs: CollectRepositoriesInputs): Promise<RootRepository> {
  const { mirror, onProgress, signal } = inputs;
  const { url, place, ref } = wanted;
  onProgress({ type: 'phase', phase: `asking for the repository ${url}` });
  const listed = await listRepository({ url, signal });
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
    const refs = await fetchRepository(workshop, { url }, names);
    if (refs.length === 0) throw nothingThere(url);
    const state = { head: chooseHead(listed.head, refs), refs };
    if (here !== undefined && isSameState(here.state, state))
      return await showAndGive(mirror, wanted, here.path, signal);
    const before = here === undefined || here.bundles >= LIMITS.gitBundlesChained ? undefined : here;
    const beforeIds = before?.state.refs.map(({ id }) => id) ?? [];
    const pack = join(folder, 'repository.pack');
    await packObjects(workshop, refs, beforeIds, pack);
    const tree = await treeOf(state, beforeIds, pack);
    const path = await publishBundle(nameOf(place), tree, before?.path, mirror, signal);
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
  wanted: WantedRepository,
  path: StorePathBaseName,
  signal: AbortSignal,
): Promise<RootRepository> {
  const repository = { ...wanted, path };
  await showRepository(mirror, repository, undefined, signal);
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

/** `team/lib.git` → `lib.git` */
function nameOf(place: string): string {
  const name = place.slice(place.lastIndexOf('/') + 1).replaceAll(/[^0-9A-Za-z+._?=-]/g, '-');
  return name.replace(/^\.+/, '');
}

async function treeOf({ head, refs }: RepositoryState, before: readonly string[], pack: string): Promise<NarNode> {
  const index = pack.replace(/\.pack$/, '.idx');
  const bundleHead = Buffer.from(formatBundleHead(refs, before));
  const packBytes = (await stat(pack)).size;
  const bundle: NarNode = {
    type: 'regular',
    executable: false,
    sizeBytes: bundleHead.length + packBytes,
    async *contents() {
      yield bundleHead;
      yield* createReadStream(pack, { highWaterMark: LIMITS.fileChunkBytes });
    },
  };
  const indexFile: NarNode = {
    type: 'regular',
    executable: false,
    sizeBytes: (await stat(index)).size,
    contents: () => createReadStream(index, { highWaterMark: LIMITS.fileChunkBytes }),
  };
  const files: [string, NarNode][] = [
    [BUNDLE_FILES.head, textFile(`ref: ${head}\n`)],
    [BUNDLE_FILES.refs, textFile(formatInfoRefs(refs))],
    [BUNDLE_FILES.bundle, bundle],
    [BUNDLE_FILES.index, indexFile],
  ];
  return { type: 'directory', entries: () => files.map(([name, node]) => [Buffer.from(name), node] as const) };
}

function textFile(text: string): NarNode {
  const bytes = Buffer.from(text);
  return { type: 'regular', executable: false, sizeBytes: bytes.length, contents: () => [bytes] };
}

async function publishBundle(
  name: string,
  tree: NarNode,
  before: StorePathBaseName | undefined,
  mirror: Mirror,
  signal: AbortSignal,
): Promise<StorePathBaseName> {
  const { storeDir } = mirror;
  // A pack is compressed already.
  const nar = await composeNar({ mirror, nar: writeNar(tree), level: 1, signal });
  const { url, compression, narHash, narSizeBytes } = nar;
  const references: StorePath[] = before === undefined ? [] : [storePathFromBaseName(before, storeDir)];
  const storePath = makeSourcePath(name, narHash, storeDir, { references });
  const contentAddress = formatContentAddress({ method: 'nar', hash: narHash });
  const described = { storePath, url, compression, narHash, narSizeBytes, references, signatures: [], contentAddress };
  const { refused } = await publish(mirror, [{ info: withIntakenNar(described, nar), narFile: nar.file }], { signal });
  const [problem] = refused;
  if (problem !== undefined) throw new NixferryError('damage', `${problem.path}: ${problem.reason}`);
  return baseNameOf(storePath);
}
