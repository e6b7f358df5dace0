import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import { asCompression } from '../base/compression/compression.ts';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import { LIMITS } from '../base/limits.ts';
import type { NarInfo } from '../nix/index.ts';
import type { ServedFiles } from './served-files.ts';
import { sourceTarball } from './source-tarball.ts';

/** Which tarball of a source. */
export interface TarballOrder {
  readonly info: NarInfo;
  /** When everything in it was modified, in seconds since 1970. */
  readonly lastModified: number;
  /** The folder of the tree that is wanted alone. */
  readonly folder: string | undefined;
}

/** The tarball as it is sent: the same bytes each time. Throws when the NAR cannot be read. */
export async function* packSource(
  files: ServedFiles,
  { info, lastModified, folder }: TarballOrder,
): AsyncGenerator<Uint8Array, void, undefined> {
  const tar = Readable.from(inPieces(sourceTarball(readSource(files, info), lastModified, folder)), {
    objectMode: false,
  });
  const packed = createGzip({ level: 1, chunkSize: LIMITS.fileChunkBytes });
  tar.on('error', (error) => packed.destroy(error));
  yield* tar.pipe(packed) as AsyncIterable<Uint8Array>;
}

/** The NAR of a source, unpacked. */
export async function* readSource(files: ServedFiles, info: NarInfo): AsyncGenerator<Uint8Array, void, undefined> {
  const compression = asCompression(info.compression);
  const opened = await files.open(info.url);
  if (opened === undefined || compression === undefined) throw new Error(`${info.url} is gone`);
  try {
    yield* decompressStream(compression, opened.chunks(), { maxBytes: info.narSizeBytes });
  } finally {
    opened.close();
  }
}

/** Most files are small: packing each by itself would cost more than the packing. */
async function* inPieces(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer, void, undefined> {
  let pieces: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of chunks) {
    pieces.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes < LIMITS.fileChunkBytes) continue;
    yield Buffer.concat(pieces, sizeBytes);
    pieces = [];
    sizeBytes = 0;
  }
  yield Buffer.concat(pieces, sizeBytes);
}
