import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { makeFolders } from '../base/files.ts';
import { formatInfoRefs, formatPackedRefs, type GitRef } from '../base/git-refs.ts';
import { hashPartOf, type StorePathBaseName } from '../nix/store-path.ts';
import { checkPack } from './check-pack.ts';
import { isLaterShipment } from './later-shipment.ts';
import type { Mirror } from './mirror.ts';
import { repositoryFile } from './repository-address.ts';
import {
  endsWithItsSha1,
  listBundles,
  type RepositoryState,
  readRepositoryState,
  unpackBundle,
} from './repository-bundle.ts';
import { type RootRecord, type RootRepository, type RootShipment, readRoots } from './roots.ts';

/**
 * Repositories as git wants them: `git/HOST/PATH.git` is a bare repository, which every web server can give to every git, file by file. It is unpacked from the
 * store paths that brought it; packs are added and never taken away, so that a commit which was carried once can always be asked for.
 */
export const REPOSITORY_POINTER = 'nixferry.json';

/** What a repository of a mirror shows, and where it has that from; written last. */
export interface RepositoryPointer {
  readonly format: 1;
  readonly url: string;
  /** One for each choice of branches that is carried, the one that moved last at the end. */
  readonly states: readonly ShownState[];
  /** Of each path that was unpacked: the checksum of its pack; empty for a pack of nothing. */
  readonly packs: Readonly<Record<string, string>>;
}

export interface ShownState {
  /** The one branch or tag that is carried; absent for all. */
  readonly ref?: string;
  readonly path: StorePathBaseName;
  /** The shipment that brought it; absent where it was collected. */
  readonly shipment?: RootShipment;
}

/** Undefined where there is none, or none of a format that is known here. */
export async function readRepositoryPointer(mirror: Mirror, place: string): Promise<RepositoryPointer | undefined> {
  const bytes = await mirror.storage.read(repositoryFile(place, REPOSITORY_POINTER));
  return bytes === undefined ? undefined : parseRepositoryPointer(bytes);
}

export function parseRepositoryPointer(bytes: Uint8Array): RepositoryPointer | undefined {
  try {
    return pointer.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch {
    return undefined;
  }
}

/** Puts every repository of a root in its place, unless the root is not complete. Throws `damage`, `no-space`. */
export async function showRepositories(mirror: Mirror, record: RootRecord, signal?: AbortSignal): Promise<void> {
  if (!record.complete) return;
  for (const repository of record.repositories ?? []) {
    await showRepository(mirror, repository, { shipment: record.shipment, signal });
  }
}

export interface RestoredRepositories {
  readonly places: readonly string[];
  /** Why one could not be made again, which is that its paths are damaged. */
  readonly problems: readonly string[];
}

/** Makes the repositories of all roots anew, as far as something of them is missing or, where the packs are read for it, damaged. */
export async function restoreRepositories(
  mirror: Mirror,
  { readPacks = false, signal }: { readonly readPacks?: boolean; readonly signal?: AbortSignal } = {},
): Promise<RestoredRepositories> {
  const places = new Set<string>();
  const problems: string[] = [];
  for (const record of await readRoots(mirror)) {
    for (const repository of record.complete ? (record.repositories ?? []) : []) {
      const { place } = repository;
      if (readPacks && !places.has(place)) await dropDamagedPacks(mirror, place, signal);
      places.add(place);
      try {
        await showRepository(mirror, repository, { shipment: record.shipment, isRestored: true, signal });
      } catch (error) {
        if (!(error instanceof NixferryError) || error.code !== 'damage') throw error;
        problems.push(error.message);
      }
    }
  }
  return { places: [...places], problems };
}

/** What is dropped is unpacked again when the repository is shown. */
async function dropDamagedPacks(mirror: Mirror, place: string, signal: AbortSignal | undefined): Promise<void> {
  const { packs = {} } = (await readRepositoryPointer(mirror, place)) ?? {};
  for (const checksum of new Set(Object.values(packs))) {
    signal?.throwIfAborted();
    if (checksum === '' || (await isWholePack(mirror, place, checksum))) continue;
    for (const name of packFiles(place, checksum).toReversed()) await mirror.storage.remove(name);
  }
}

async function isWholePack({ storage }: Mirror, place: string, checksum: string): Promise<boolean> {
  for (const name of packFiles(place, checksum)) {
    const file = await storage.open(name);
    if (file === undefined) return false;
    if (!(await endsWithItsSha1(file.stream, name.endsWith('.pack') ? checksum : undefined))) return false;
  }
  return true;
}

export interface ShowOptions {
  /** Which one brought it; absent where it was collected. */
  readonly shipment?: RootShipment | undefined;
  /** What is shown already stays as it is: nothing new has come. */
  readonly isRestored?: boolean;
  /** Git has looked at every object, when it fetched them. */
  readonly isChecked?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Puts a repository in its place, and moves its branches and tags to what the path says, unless they are later already. Safe to repeat: what is there is
 * not written again; what is new is looked at by git first, where that is installed. Throws `damage`, `no-space`.
 */
export async function showRepository(
  mirror: Mirror,
  { url, place, ref, path }: RootRepository,
  options: ShowOptions = {},
): Promise<void> {
  const { shipment, isRestored = false, signal } = options;
  const known = (await readRepositoryPointer(mirror, place)) ?? { format: 1, url, states: [], packs: {} };
  const packs = { ...known.packs };
  for (const bundle of await listBundles(mirror, path)) {
    packs[bundle] = await showPack(mirror, place, bundle, known.packs[bundle], options);
  }
  const next: ShownState = {
    ...(ref === undefined ? {} : { ref }),
    path,
    ...(shipment === undefined ? {} : { shipment }),
  };
  const states = await moveState(mirror, known.states, next, isRestored);
  const files = await filesOf(mirror, { format: 1, url, states, packs }, signal);
  // Git wants the folder to be there.
  await makeFolders(join(mirror.directory, repositoryFile(place, 'refs')));
  for (const [name, text] of files) {
    const inMirror = repositoryFile(place, name);
    const there = await mirror.storage.stat(inMirror);
    const bytes = Buffer.from(text);
    if (there?.sizeBytes === bytes.length && (await mirror.storage.read(inMirror))?.equals(bytes) === true) continue;
    await mirror.storage.write(inMirror, bytes);
  }
}

/** Resolves to the checksum, or to nothing for a pack of nothing. The index is put in place last: it is what git looks for. */
async function showPack(
  mirror: Mirror,
  place: string,
  bundle: StorePathBaseName,
  known: string | undefined,
  { isChecked = false, signal }: ShowOptions,
): Promise<string> {
  const { storage, layout } = mirror;
  if (known === '') return known;
  if (known !== undefined) {
    const there = await storage.statMany(packFiles(place, known));
    if (there.every((file) => file !== undefined)) return known;
  }
  const base = join(layout.tempFolder, `repository-${randomBytes(12).toString('hex')}`);
  const files = { pack: `${base}.pack`, index: `${base}.idx` };
  try {
    const { checksum } = await unpackBundle(mirror, bundle, files, signal);
    if (checksum === undefined) return '';
    if (!isChecked) {
      const objectsFolder = join(mirror.directory, repositoryFile(place, 'objects'));
      await checkPack({ ...files, objectsFolder, what: `the repository in ${bundle}` }, signal);
    }
    const [pack = '', index = ''] = packFiles(place, checksum);
    await storage.adopt(files.pack, pack);
    await storage.adopt(files.index, index);
    return checksum;
  } finally {
    for (const file of Object.values(files)) await rm(file, { force: true });
  }
}

function packFiles(place: string, checksum: string): readonly string[] {
  return ['pack', 'idx'].map((suffix) => repositoryFile(place, `objects/pack/pack-${checksum}.${suffix}`));
}

async function moveState(
  mirror: Mirror,
  states: readonly ShownState[],
  next: ShownState,
  isRestored: boolean,
): Promise<readonly ShownState[]> {
  const current = states.find(({ ref }) => ref === next.ref);
  if (current === undefined) return [...states, next];
  if (current.path === next.path || (await isLater(mirror, current, next, isRestored))) return states;
  return [...states.filter((state) => state !== current), next];
}

/** Whether what is shown is not to be moved: by the numbers of one sender, else by what builds on what. */
async function isLater(mirror: Mirror, current: ShownState, next: ShownState, isRestored: boolean): Promise<boolean> {
  if (isLaterShipment(current.shipment, next.shipment)) return true;
  if (isLaterShipment(next.shipment, current.shipment)) return false;
  if ((await mirror.readNarInfo(hashPartOf(current.path))) === undefined) return false;
  // Only what builds on what is shown is sure to be later.
  if (isRestored) return !(await listBundles(mirror, next.path)).includes(current.path);
  return (await listBundles(mirror, current.path)).includes(next.path);
}

/** In the order in which they are written: whoever reads meanwhile finds every object of the refs that he sees. */
async function filesOf(
  mirror: Mirror,
  shown: RepositoryPointer,
  signal: AbortSignal | undefined,
): Promise<(readonly [name: string, text: string])[]> {
  const { head, refs } = await mergeStates(mirror, shown.states, signal);
  const packs = [...new Set(Object.values(shown.packs))].filter((checksum) => checksum !== '').toSorted();
  return [
    ['objects/info/packs', `${packs.map((checksum) => `P pack-${checksum}.pack\n`).join('')}\n`],
    ['config', '[core]\n\trepositoryformatversion = 0\n\tbare = true\n'],
    ['HEAD', `ref: ${head}\n`],
    ['packed-refs', formatPackedRefs(refs)],
    ['info/refs', formatInfoRefs(refs)],
    [REPOSITORY_POINTER, `${JSON.stringify(shown)}\n`],
  ];
}

/** Where several say where a branch is, the one that moved last counts. */
async function mergeStates(
  mirror: Mirror,
  states: readonly ShownState[],
  signal: AbortSignal | undefined,
): Promise<RepositoryState> {
  const refs = new Map<string, GitRef>();
  let head: string | undefined;
  for (const { ref, path } of states) {
    const state = await readRepositoryState(mirror, path, signal);
    // What is damaged is hidden until it is had anew.
    if (state === undefined) continue;
    for (const one of state.refs) refs.set(one.name, one);
    if (ref === undefined || head === undefined) head = state.head;
  }
  const sorted = [...refs.values()].toSorted((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  return { head: head ?? 'refs/heads/main', refs: sorted };
}

const baseName = z.custom<StorePathBaseName>(
  (value) => typeof value === 'string' && /^[0-9a-z]{32}-[0-9A-Za-z+._?=-]+$/.test(value),
);
const pointer = z.object({
  format: z.literal(1),
  url: z.string(),
  states: z.array(
    z.object({
      ref: z.string().exactOptional(),
      path: baseName,
      shipment: z.object({ sender: z.string(), site: z.string(), sequence: z.number().int() }).exactOptional(),
    }),
  ),
  packs: z.record(z.string(), z.string().regex(/^(?:[0-9a-f]{40})?$/)),
});
