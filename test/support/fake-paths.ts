import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { xz } from '@napi-rs/lzma';
import { encodeBase32 } from '../../src/nix/base32.ts';
import { hashBytes } from '../../src/nix/hash.ts';
import { writeNar } from '../../src/nix/nar-writer.ts';
import type { NarInfo } from '../../src/nix/narinfo.ts';
import { DEFAULT_STORE_DIR, type StorePath, storePathFromBaseName } from '../../src/nix/store-path.ts';

/** A store path that no Nix has built, with everything that a binary cache has of it. */
export interface FakePath {
  readonly info: NarInfo;
  readonly nar: Buffer;
  readonly file: Buffer;
}

export interface FakePathOptions {
  readonly references?: readonly StorePath[];
  readonly contents?: string | Uint8Array;
  readonly compression?: 'none' | 'xz' | 'zstd';
  readonly storeDir?: string;
}

/** The path that a name stands for: the same name gives the same path. */
export function fakeStorePath(name: string, storeDir = DEFAULT_STORE_DIR): StorePath {
  const digest = createHash('sha256').update(name).digest().subarray(0, 20);
  return storePathFromBaseName(`${encodeBase32(digest)}-${name}`, storeDir);
}

/** A path that holds one file; its contents are its name unless given. */
export async function makeFakePath(name: string, options: FakePathOptions = {}): Promise<FakePath> {
  const { references = [], compression = 'xz', storeDir = DEFAULT_STORE_DIR } = options;
  const contents = Buffer.from(options.contents ?? `I am ${name}\n`);
  const nar = await narOfFile(contents);
  const file = compress(nar, compression);
  const info: NarInfo = {
    storePath: fakeStorePath(name, storeDir),
    url: `nar/upstream-${name}.nar`,
    compression,
    fileHash: hashBytes('sha256', file),
    fileSizeBytes: file.length,
    narHash: hashBytes('sha256', nar),
    narSizeBytes: nar.length,
    references,
    signatures: [],
  };
  return { info, nar, file };
}

export async function narOfFile(contents: Uint8Array, executable = false): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const node = { type: 'regular', executable, sizeBytes: contents.length, contents: () => [contents] } as const;
  for await (const chunk of writeNar(node)) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** The path as `publish` takes it, its file lying in `folder`. */
export async function asCandidate(path: FakePath, folder: string): Promise<{ info: NarInfo; narFile: string }> {
  const narFile = join(folder, `${path.info.storePath.slice(-60).replaceAll('/', '_')}.nar`);
  await writeFile(narFile, path.file);
  return { info: path.info, narFile };
}

function compress(nar: Buffer, compression: 'none' | 'xz' | 'zstd'): Buffer {
  if (compression === 'none') return nar;
  return compression === 'xz' ? xz.compressSync(nar) : zstdCompressSync(nar);
}
