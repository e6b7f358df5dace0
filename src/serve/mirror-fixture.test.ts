// A small mirror for the tests of this folder; it ends in .test.ts so that it is not published with the program.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import pino from 'pino';
import { encodeBase32 } from '../nix/base32.ts';
import { hashBytes, hashDigest } from '../nix/hash.ts';
import { formatNarInfo, type NarInfo } from '../nix/narinfo.ts';
import { DEFAULT_STORE_DIR, type HashPart, hashPartOf, parseStorePath } from '../nix/store-path.ts';
import { buildApp } from './app.ts';
import type { SendfileHeader } from './sendfile-header.ts';
import { openServeContext } from './serve-context.ts';

export interface FixturePath {
  readonly hashPart: HashPart;
  readonly info: NarInfo;
  /** As in the narinfo file. */
  readonly text: string;
  /** As in the NAR file. */
  readonly file: Buffer;
}

export interface MirrorFixture extends AsyncDisposable {
  readonly directory: string;
  /** Adds a store path that is one file. */
  addPath(contents: string | Buffer, options?: { readonly compression?: 'zstd' | 'none' }): Promise<FixturePath>;
  write(name: string, contents: string | Buffer): Promise<void>;
}

export async function makeMirror(): Promise<MirrorFixture> {
  const directory = await mkdtemp(join(tmpdir(), 'nixferry-serve-'));
  const write = async (name: string, contents: string | Buffer): Promise<void> => {
    await writeFile(join(directory, name), contents);
  };
  for (const folder of ['nar', 'log', 'realisations', 'build-trace-v2', 'debuginfo', '.nixferry']) {
    await mkdir(join(directory, folder));
  }
  await write('nix-cache-info', 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 35\n');
  return {
    directory,
    write,
    addPath: async (contents, { compression = 'zstd' } = {}) => {
      const path = describePath(contents, compression);
      await write(path.info.url, path.file);
      await write(`${path.hashPart}.narinfo`, path.text);
      return path;
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

/** The HTTP side over a mirror, to be asked by `inject`. */
export async function openApp(
  directory: string,
  options: {
    readonly priority?: number;
    readonly log?: string[];
    readonly sendfileHeader?: SendfileHeader;
    readonly publicUrl?: string;
    readonly localStore?: string;
  } = {},
) {
  const stopping = new AbortController();
  const { log, priority, sendfileHeader, publicUrl, localStore } = options;
  const logger =
    log === undefined ? pino({ level: 'silent' }) : pino({ level: 'info' }, { write: (line) => log.push(line) });
  const app = buildApp(
    await openServeContext(
      { mirrorDirectory: directory, priority, sendfileHeader, publicUrl, localStore, logger },
      stopping.signal,
    ),
  );
  return Object.assign(app, { stop: () => stopping.abort(), [Symbol.asyncDispose]: () => app.close() });
}

function describePath(contents: string | Buffer, compression: 'zstd' | 'none'): FixturePath {
  const nar = narOfFile(Buffer.from(contents));
  const file = compression === 'zstd' ? zstdCompressSync(nar) : nar;
  const fileHash = hashBytes('sha256', file);
  const name = encodeBase32(hashDigest(hashBytes('sha256', `path ${fileHash}`)).subarray(0, 20));
  const storePath = parseStorePath(`${DEFAULT_STORE_DIR}/${name}-thing`, DEFAULT_STORE_DIR);
  const info: NarInfo = {
    storePath,
    url: `nar/${encodeBase32(hashDigest(fileHash))}.nar${compression === 'zstd' ? '.zst' : ''}`,
    compression,
    fileHash,
    fileSizeBytes: file.length,
    narHash: hashBytes('sha256', nar),
    narSizeBytes: nar.length,
    references: [],
    signatures: [],
  };
  return { hashPart: hashPartOf(storePath), info, text: formatNarInfo(info), file };
}

function narOfFile(contents: Buffer): Buffer {
  const parts = ['nix-archive-1', '(', 'type', 'regular', 'contents', contents, ')'];
  return Buffer.concat(parts.map((part) => narString(Buffer.from(part))));
}

function narString(bytes: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([length, bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)]);
}
