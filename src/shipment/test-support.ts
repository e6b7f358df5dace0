// For the tests of this folder: small mirrors with real NARs in them.
import { hash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { type Mirror, openMirror } from '../mirror/mirror.ts';
import { intakeNar, withIntakenNar } from '../mirror/nar-intake.ts';
import { publish } from '../mirror/publish.ts';
import { makeRootId, type RootRecord } from '../mirror/roots.ts';
import { baseNameOf, hashBytes, makeOutputPath, type NarInfo, type StorePath } from '../nix/index.ts';

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
  for (const path of paths) infos.set(path.name, await addPath(mirror, path, infos));
  return { mirror, paths: infos, [Symbol.asyncDispose]: () => mirror.close() };
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

async function addPath(mirror: Mirror, path: TestPath, infos: ReadonlyMap<string, NarInfo>): Promise<NarInfo> {
  const nar = narOfFile(path.contents);
  const compression = path.compression ?? 'zstd';
  const file = compression === 'zstd' ? zstdCompressSync(nar) : nar;
  const info: NarInfo = {
    storePath: makeOutputPath('out', hashBytes('sha256', path.name), path.name, mirror.storeDir),
    url: 'nar/any',
    compression,
    narHash: hashBytes('sha256', nar),
    narSizeBytes: nar.length,
    references: (path.references ?? []).map((name) => infoOf(infos, name).storePath),
    signatures: [],
  };
  const open = async (offset: number) => ({ stream: oneChunk(file.subarray(offset)), offset });
  const intaken = await intakeNar({ mirror, expected: info, open });
  const { published } = await publish(mirror, [{ info: withIntakenNar(info, intaken), narFile: intaken.file }]);
  if (published.length !== 1) throw new Error(`${path.name} could not be published`);
  const visible = await mirror.readNarInfo(info.storePath.slice(11, 43) as Parameters<Mirror['readNarInfo']>[0]);
  if (visible === undefined) throw new Error(`${path.name} is not visible`);
  return visible;
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
