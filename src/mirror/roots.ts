import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { readFileIfExists, syncDirectory, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { encodeBase32 } from '../nix/base32.ts';
import type { StorePathBaseName } from '../nix/store-path.ts';
import type { MirrorPlace } from './keys.ts';
import { privateLayout } from './layout.ts';
import { isRepositoryPlace } from './repository-address.ts';

export const SCOPES = ['run', 'reconfigure', 'rebuild'] as const;
export type Scope = (typeof SCOPES)[number];

export const EVALUATION_INPUT_KINDS = ['flake', 'channel', 'fetched', 'built'] as const;

/** Something that was asked for and the paths that it needs: what keeps paths from being collected as garbage, and what `pack` carries. */
export interface RootRecord {
  readonly format: 1;
  /** The name of its file; `makeRootId` gives the same one for the same request, so asking again replaces the record. */
  readonly id: string;
  /** For people: unique enough to type. */
  readonly name: string;
  /** As the user typed it, or as the shipment states it. */
  readonly request: string;
  readonly scope: Scope;
  /** The paths that were asked for themselves. */
  readonly rootPaths: readonly StorePathBaseName[];
  /** Everything that the scope needs, `rootPaths` included, sorted. */
  readonly paths: readonly StorePathBaseName[];
  /** Whether all of `paths` were in the mirror when the record was written. */
  readonly complete: boolean;
  readonly origin: 'collected' | 'imported';
  /**
   * What Nix is asked to build for the root: its own derivations, then those of each variant, in the order given. Absent for roots that are
   * paths, lists or channels, of which nobody knows derivations.
   */
  readonly targets?: readonly RootTarget[];
  /** What evaluating the root read besides, so that the isolated side can evaluate it again. */
  readonly evaluationInputs?: readonly RootEvaluationInput[];
  /** The release that a channel led to; absent for other roots, and for channels that are nothing but a list of paths. */
  readonly channel?: RootChannel;
  /** Repositories of git: the root itself, or what evaluating it fetches. */
  readonly repositories?: readonly RootRepository[];
  /** Which shipment brought it; only for imported roots. */
  readonly shipment?: RootShipment;
  /** ISO time, for people only: nothing is decided by it. */
  readonly recorded?: string;
}

export interface RootTarget {
  /** The variant's name; absent for the root itself. */
  readonly variant?: string;
  /** The `.drv` file. */
  readonly derivation: StorePathBaseName;
  readonly outputs: readonly string[];
}

export interface RootEvaluationInput {
  /** A node of flake.lock, a channel or other tree of NIX_PATH, what a `fetch…` brought, an output of import-from-derivation. */
  readonly kind: (typeof EVALUATION_INPUT_KINDS)[number];
  /** For people: the input's name or where it came from. */
  readonly name: string;
  readonly path: StorePathBaseName;
  /** Of a node of flake.lock: where its revision is, with `narHash`, `rev`, `lastModified`; as the lock has it. */
  readonly locked?: FlakeReference;
  /** Of a node of flake.lock: what the flake asked for. */
  readonly original?: FlakeReference;
}

/** The attributes of a flake reference: `type`, `owner`, `url` … */
export type FlakeReference = Readonly<Record<string, string | number | boolean>>;

export interface RootChannel {
  /** `nixos-26.05` */
  readonly name: string;
  /** `nixos-26.05.1234.0123456789ab`, or what stands for it. */
  readonly release: string;
  /** Holds the files of the release's folder; one of the root's paths. */
  readonly path: StorePathBaseName;
}

export interface RootRepository {
  /** As git takes it, without a password. */
  readonly url: string;
  /** Where a mirror has it, below `git/`: `git.example.org/team/lib.git` */
  readonly place: string;
  /** The one branch or tag that is carried, without `refs/…/`; absent for all. */
  readonly ref?: string;
  /** Its last bundle, which refers to those before; one of the root's paths. */
  readonly path: StorePathBaseName;
}

export interface RootShipment {
  /** Name of the sender's key. */
  readonly sender: string;
  readonly site: string;
  readonly sequence: number;
}

const BASE_NAME = /^[0-9a-z]{32}-[0-9A-Za-z+._?=-]+$/;
const baseName = z.custom<StorePathBaseName>((value) => typeof value === 'string' && BASE_NAME.test(value));
const rootTarget = z.object({
  variant: z.string().exactOptional(),
  derivation: baseName,
  outputs: z.array(z.string()),
});
/** What of a reference is recorded: what Nix has there is plain and short. */
export const flakeReference = z.record(z.string().max(100), z.union([z.string().max(4000), z.number(), z.boolean()]));
export const CHANNEL_NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,150}$/;
const rootChannel = z.object({
  name: z.string().regex(CHANNEL_NAME),
  release: z.string().regex(CHANNEL_NAME),
  path: baseName,
});
/** As records and shipments have it. */
export const rootRepository = z.object({
  url: z.string().max(LIMITS.repositoryAddressBytes),
  place: z.string().refine(isRepositoryPlace, 'no place for a repository'),
  ref: z.string().max(LIMITS.repositoryAddressBytes).exactOptional(),
  path: baseName,
});
/** As records have it, and lists of inputs that are made from them. */
export const rootEvaluationInput = z.object({
  kind: z.enum(EVALUATION_INPUT_KINDS),
  name: z.string(),
  path: baseName,
  locked: flakeReference.exactOptional(),
  original: flakeReference.exactOptional(),
});
const rootRecord = z.object({
  format: z.literal(1),
  id: z.string(),
  name: z.string(),
  request: z.string(),
  scope: z.enum(SCOPES),
  rootPaths: z.array(baseName),
  paths: z.array(baseName),
  complete: z.boolean(),
  origin: z.enum(['collected', 'imported']),
  targets: z.array(rootTarget).exactOptional(),
  evaluationInputs: z.array(rootEvaluationInput).exactOptional(),
  channel: rootChannel.exactOptional(),
  repositories: z.array(rootRepository).max(LIMITS.repositoriesPerRoot).exactOptional(),
  shipment: z.object({ sender: z.string(), site: z.string(), sequence: z.number().int() }).exactOptional(),
  recorded: z.string().exactOptional(),
});

const SUFFIX = '.json';
const ROOT_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$/;

/** The id of a request: the name as far as a file may be called so, and a digest of what makes the request another one. */
export function makeRootId(root: Pick<RootRecord, 'name' | 'request' | 'scope' | 'origin' | 'shipment'>): string {
  const identity = [root.request, root.scope, root.origin, root.shipment?.sender ?? '', root.shipment?.site ?? ''];
  const digest = createHash('sha256').update(JSON.stringify(identity)).digest().subarray(0, 10);
  const readable = root.name.replaceAll(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '');
  return `${readable.slice(0, 80)}${readable === '' ? '' : '-'}${encodeBase32(digest)}`;
}

/** All roots, sorted by name and id. Throws `damage` for a record that cannot be read, `newer-format` for one of a newer Nixferry. */
export async function readRoots(place: MirrorPlace): Promise<readonly RootRecord[]> {
  const folder = privateLayout(place.directory).rootsFolder;
  const roots: RootRecord[] = [];
  for (const name of await listRecords(folder)) {
    const record = await readRecord(join(folder, name));
    if (record !== undefined) roots.push(record);
  }
  return roots.toSorted((a, b) => compareText(a.name, b.name) || compareText(a.id, b.id));
}

export async function readRoot(place: MirrorPlace, id: string): Promise<RootRecord | undefined> {
  return readRecord(recordFile(place, id));
}

/** Keeps a root, durably, in place of an earlier record with its id. The lists are sorted and rid of repetitions on the way. */
export async function writeRoot(place: MirrorPlace, root: RootRecord): Promise<void> {
  const record: RootRecord = { ...root, rootPaths: sortedUnique(root.rootPaths), paths: sortedUnique(root.paths) };
  await writeFileAtomic(recordFile(place, root.id), `${JSON.stringify(record)}\n`);
}

/** Forgets a root; its paths stay until garbage is collected. False when there was none. */
export async function removeRoot(place: MirrorPlace, id: string): Promise<boolean> {
  const file = recordFile(place, id);
  try {
    await rm(file);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
  }
  await syncDirectory(privateLayout(place.directory).rootsFolder);
  return true;
}

/**
 * The roots that a user may mean by `query`: an id, a name, the request as it was typed, or one of the root paths (full, base name or hash part). Where
 * nothing is called so, the last part of a name will do: `web01` for `nixosConfigurations.web01`.
 */
export async function findRoots(place: MirrorPlace, query: string): Promise<readonly RootRecord[]> {
  return rootsMeantBy(query, await readRoots(place));
}

/** The same among roots that are read already. */
export function rootsMeantBy(query: string, roots: readonly RootRecord[]): readonly RootRecord[] {
  const baseNameText = query.slice(query.lastIndexOf('/') + 1);
  const found = roots.filter(
    (root) =>
      root.id === query ||
      root.name === query ||
      root.request === query ||
      root.rootPaths.some((path) => path === baseNameText || path.slice(0, 32) === query),
  );
  return found.length > 0 ? found : roots.filter((root) => query !== '' && root.name.endsWith(`.${query}`));
}

async function listRecords(folder: string): Promise<string[]> {
  try {
    const names = await readdir(folder);
    return names.filter((name) => name.endsWith(SUFFIX) && ROOT_ID.test(name.slice(0, -SUFFIX.length))).toSorted();
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function readRecord(file: string): Promise<RootRecord | undefined> {
  const bytes = await readFileIfExists(file, LIMITS.rootRecordBytes);
  return bytes === undefined ? undefined : parseRecord(file, bytes);
}

function parseRecord(file: string, bytes: Buffer): RootRecord {
  const value = parseJson(bytes);
  if (isNewer(value)) {
    throw new NixferryError('newer-format', `${file} was written by a newer Nixferry`, {
      hint: 'use the newer Nixferry, or remove the file and collect the root again',
    });
  }
  const parsed = rootRecord.safeParse(value);
  if (!parsed.success) {
    throw new NixferryError(
      'damage',
      `${file} is no record of a root: ${parsed.error.issues[0]?.message ?? 'not JSON'}`,
      {
        hint: 'remove the file and collect or import the root again; no path is lost by it',
      },
    );
  }
  return parsed.data;
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}

function isNewer(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'format' in value &&
    typeof value.format === 'number' &&
    value.format > 1
  );
}

function recordFile(place: MirrorPlace, id: string): string {
  if (!ROOT_ID.test(id)) throw new NixferryError('bad-root', `${JSON.stringify(id)} cannot be the id of a root`);
  return join(privateLayout(place.directory).rootsFolder, `${id}${SUFFIX}`);
}

function sortedUnique<Text extends string>(texts: readonly Text[]): Text[] {
  return [...new Set(texts)].toSorted();
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
