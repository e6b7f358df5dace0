// Small mirrors with real NARs in them, shipments of them, and what an ill-meaning sender would make of those.
import { hash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { type Mirror, openMirror } from '../../src/mirror/mirror.ts';
import { intakeNar, withIntakenNar } from '../../src/mirror/nar-intake.ts';
import { type PublishCandidate, publish } from '../../src/mirror/publish.ts';
import { makeRootId, type RootRecord } from '../../src/mirror/roots.ts';
import type { NamedBytes } from '../../src/mirror/storage.ts';
import {
  baseNameOf,
  hashBytes,
  hashPartOf,
  makeOutputPath,
  type NarInfo,
  nameOf,
  parseHashPart,
  type SecretKey,
  type StorePath,
} from '../../src/nix/index.ts';
import { formatSequence } from '../../src/shipment/format.ts';
import type { InventoryRecord } from '../../src/shipment/inventory.ts';
import { readInventory } from '../../src/shipment/inventory-file.ts';
import type { Manifest } from '../../src/shipment/manifest.ts';
import { signManifest } from '../../src/shipment/manifest-signature.ts';
import { type PackResult, packShipment } from '../../src/shipment/pack.ts';
import { copyTemplate } from './templates.ts';

export interface TestPath {
  readonly name: string;
  /** Contents of the one file in the path. */
  readonly contents: Buffer;
  /** Names of other paths. */
  readonly references?: readonly string[];
  readonly compression?: 'none' | 'zstd';
}

export interface TestMirror extends AsyncDisposable {
  readonly mirror: Mirror;
  readonly paths: ReadonlyMap<string, NarInfo>;
}

/** A temporary folder that goes away with its scope. */
export async function makeTempFolder(): Promise<{ readonly folder: string } & AsyncDisposable> {
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-shipment-'));
  return { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
}

/** A mirror that holds the given paths; references must come before what refers to them. */
export async function makeTestMirror(directory: string, paths: readonly TestPath[]): Promise<TestMirror> {
  const mirror = await openMirror(directory, { access: 'write', create: true, keyName: 'carrier-1' });
  const infos = new Map<string, NarInfo>();
  await addTestPaths(mirror, infos, paths);
  return { mirror, paths: infos, [Symbol.asyncDispose]: () => mirror.close() };
}

/** Publishes further paths in a mirror; they may refer to those that `infos` knows, and are added to it. */
export async function addTestPaths(
  mirror: Mirror,
  infos: Map<string, NarInfo>,
  paths: readonly TestPath[],
): Promise<void> {
  const known = new Map<string, Pick<PublishCandidate, 'info'>>([...infos].map(([name, info]) => [name, { info }]));
  const candidates: PublishCandidate[] = [];
  for (const path of paths) {
    const candidate = await takeInPath(mirror, path, known);
    known.set(path.name, candidate);
    candidates.push(candidate);
  }
  const { published } = await publish(mirror, candidates);
  if (published.length !== paths.length) throw new Error('some paths could not be published');
  for (const { name } of paths) {
    const info = known.get(name)?.info;
    const visible = info === undefined ? undefined : await mirror.readNarInfo(hashPartOf(info.storePath));
    if (visible !== undefined) infos.set(name, visible);
  }
}

/** A root over the named paths of a mirror, and all that they refer to. */
export function makeTestRoot(
  paths: ReadonlyMap<string, NarInfo>,
  name: string,
  rootNames: readonly string[],
): RootRecord {
  const byPath = new Map([...paths.values()].map((info) => [info.storePath, info]));
  const closure = new Set<StorePath>();
  const add = (path: StorePath): void => {
    if (closure.has(path)) return;
    closure.add(path);
    for (const reference of byPath.get(path)?.references ?? []) add(reference);
  };
  const rootPaths = rootNames.map((rootName) => infoOf(paths, rootName).storePath);
  for (const path of rootPaths) add(path);
  const identity = { name, request: name, scope: 'run', origin: 'collected' } as const;
  return {
    ...identity,
    format: 1,
    id: makeRootId(identity),
    rootPaths: rootPaths.map(baseNameOf),
    paths: [...closure].map(baseNameOf).sort(),
    complete: true,
  };
}

export function infoOf(paths: ReadonlyMap<string, NarInfo>, name: string): NarInfo {
  const info = paths.get(name);
  if (info === undefined) throw new Error(`there is no path ${name}`);
  return info;
}

/** Bytes that do not compress, the same for the same seed. */
export function noise(seed: string, sizeBytes: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(sizeBytes / 64) }, (_, index) =>
    hash('sha512', `${seed} ${index}`, 'buffer'),
  );
  return Buffer.concat(blocks).subarray(0, sizeBytes);
}

async function takeInPath(
  mirror: Mirror,
  path: TestPath,
  others: ReadonlyMap<string, Pick<PublishCandidate, 'info'>>,
): Promise<PublishCandidate> {
  const nar = narOfFile(path.contents);
  const compression = path.compression ?? 'zstd';
  const file = compression === 'zstd' ? zstdCompressSync(nar) : nar;
  const references = (path.references ?? []).map((name) => {
    const reference = others.get(name)?.info.storePath;
    if (reference === undefined) throw new Error(`${path.name} refers to ${name}, which must come before it`);
    return reference;
  });
  const info: NarInfo = {
    storePath: makeOutputPath('out', hashBytes('sha256', path.name), path.name, mirror.storeDir),
    url: 'nar/any',
    compression,
    narHash: hashBytes('sha256', nar),
    narSizeBytes: nar.length,
    references,
    signatures: [],
  };
  const open = async (offset: number) => ({ stream: oneChunk(file.subarray(offset)), offset });
  const intaken = await intakeNar({ mirror, expected: info, open });
  return { info: withIntakenNar(info, intaken), narFile: intaken.file };
}

async function* oneChunk(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/** The NAR of one plain file. (Nix: nix-archive-1) */
function narOfFile(contents: Buffer): Buffer {
  const words = ['nix-archive-1', '(', 'type', 'regular', 'contents', contents, ')'];
  return Buffer.concat(words.map(narWord));
}

function narWord(word: string | Buffer): Buffer {
  const bytes = Buffer.from(word);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([length, bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)]);
}

/** Three paths, of which one is larger than small volumes: libc ← big ← app. */
export const SMALL_CLOSURE: readonly TestPath[] = [
  { name: 'libc', contents: noise('libc', 5000) },
  { name: 'big', contents: noise('big', 70_000), references: ['libc'], compression: 'none' },
  { name: 'app', contents: noise('app', 3000), references: ['big', 'libc'] },
];

export interface TestShipment extends AsyncDisposable {
  /** Holds everything of the test; goes away with it. */
  readonly temp: string;
  readonly sender: Mirror;
  readonly paths: ReadonlyMap<string, NarInfo>;
  readonly folder: string;
  readonly result: PackResult;
}

/** A shipment for the site plant-7 with a root for each of `rootNames`. */
export async function makeTestShipment(
  options: {
    readonly paths?: readonly TestPath[];
    readonly rootNames?: readonly string[];
    readonly volumeSizeBytes?: number;
    /** Small files of the sender's mirror, which travel where they belong to one of the paths. */
    readonly files?: (paths: ReadonlyMap<string, NarInfo>) => readonly NamedBytes[];
  } = {},
): Promise<TestShipment> {
  const { paths = SMALL_CLOSURE, rootNames = ['app'], volumeSizeBytes = 20_000, files } = options;
  const hashed = paths.map((path) => ({ ...path, contents: hash('sha256', path.contents) }));
  const key = JSON.stringify([hashed, rootNames, volumeSizeBytes, files?.toString()]);
  const copy = await copyTemplate(key, async (temp) => {
    await using sender = await makeTestMirror(join(temp, 'sender'), paths);
    await sender.mirror.storage.writeInOrder([files?.(sender.paths) ?? []]);
    const packed = await packShipment({
      ...PACK,
      mirror: sender.mirror,
      roots: rootNames.map((name) => makeTestRoot(sender.paths, name, [name])),
      to: join(temp, 'medium'),
      volumeSizeBytes,
    });
    return { paths: sender.paths, result: packed };
  });
  const sender = await openMirror(join(copy.folder, 'sender'), { access: 'write' });
  const { paths: infos, result } = copy.made;
  const folder = join(copy.folder, 'medium', basename(result.folder));
  return {
    temp: copy.folder,
    sender,
    paths: infos,
    folder,
    result: { ...result, folder },
    async [Symbol.asyncDispose]() {
      await sender.close();
      await copy[Symbol.asyncDispose]();
    },
  };
}

/** What all packs of these tests have in common. */
export const PACK = { site: 'plant-7', generator: 'nixferry test', created: new Date('2026-01-02T03:04:05Z') } as const;

/** A new mirror of a site, beside the shipment. */
export function openSite(shipment: TestShipment, name = 'site'): Promise<Mirror> {
  return openMirror(join(shipment.temp, name), { access: 'write', create: true, keyName: 'site-1' });
}

/** Changes what manifest and inventory said at first and signs them anew, as a sender with bad intentions would. */
export async function forge(
  shipment: Pick<TestShipment, 'folder' | 'sender' | 'result'>,
  change: {
    readonly records?: (records: InventoryRecord[]) => unknown[];
    readonly manifest?: (manifest: Manifest) => unknown;
    /** Signs instead of the sender. */
    readonly key?: SecretKey;
  },
): Promise<void> {
  const { folder, sender } = shipment;
  let { manifest } = shipment.result;
  if (change.records !== undefined) {
    const kept = join(sender.layout.folder, `sent/plant-7/${formatSequence(manifest.sequence)}.inventory.jsonl.zst`);
    const records = await Array.fromAsync(readInventory(kept, manifest.inventory));
    const lines = [{ type: 'inventory', format: 1 }, ...change.records(records)];
    const text = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const bytes = zstdCompressSync(text);
    await writeFile(join(folder, 'inventory.jsonl.zst'), bytes);
    const inventory = { ...manifest.inventory, sizeBytes: bytes.length, sha256: hash('sha256', bytes) };
    manifest = { ...manifest, inventory: { ...inventory, textSizeBytes: text.length, lineCount: lines.length } };
  }
  const bytes = Buffer.from(JSON.stringify(change.manifest?.(manifest) ?? manifest));
  await writeFile(join(folder, 'manifest.json'), bytes);
  await writeFile(join(folder, 'manifest.sig'), signManifest(bytes, change.key ?? sender.secretKey));
}

/** Turns one bit of a file. */
export async function flipBit(file: string, byte: number): Promise<void> {
  const bytes = await readFile(file);
  bytes[byte] = (bytes[byte] ?? 0) ^ 0x10;
  await writeFile(file, bytes);
}

/** Every file below a folder with its size and the time of its last change: whoever writes there changes it. */
export async function snapshot(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true });
  const lines = entries.sort().map(async (name) => {
    const stats = await stat(join(folder, name), { bigint: true });
    return `${name} ${stats.isFile() ? stats.size : ''} ${stats.mtimeNs}`;
  });
  return Promise.all(lines);
}

/** The names of the paths that clients of a mirror see, each after its NAR was decoded and hashed. */
export async function visiblePaths(mirror: Mirror): Promise<string[]> {
  const names: string[] = [];
  for await (const name of mirror.storage.list('', { shallow: true })) {
    if (!name.endsWith('.narinfo')) continue;
    const info = await mirror.readNarInfo(parseHashPart(name.slice(0, 32)));
    const file = info === undefined ? undefined : await mirror.storage.read(info.url);
    if (info === undefined || file === undefined) throw new Error(`${name} is visible without its NAR`);
    const nar = info.compression === 'zstd' ? zstdDecompressSync(file) : file;
    if (hashBytes('sha256', nar) !== info.narHash) throw new Error(`${name} has another NAR than it says`);
    for (const reference of info.references) {
      if (!(await mirror.hasPath(hashPartOf(reference)))) throw new Error(`${name} is visible without ${reference}`);
    }
    names.push(nameOf(info.storePath));
  }
  return names.sort();
}
