import { createReadStream } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Compression } from '../base/compression/compression.ts';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { showUrl } from '../base/http/shown-url.ts';
import type { HttpClient } from '../base/http-client.ts';
import { LIMITS } from '../base/limits.ts';
import { NixFormatError, parseStorePath, quoteForMessage, type StorePath } from '../nix/index.ts';
import { channelStorePathsUrl, parseChannel } from './channel.ts';
import { openHttpTransfer } from './http-transfer.ts';
import { openUnbroken, type Transfer } from './unbroken-transfer.ts';

export interface StorePathsListOptions {
  readonly http: HttpClient;
  readonly storeDir: string;
  readonly signal?: AbortSignal;
  /** Where `channel:NAME` is looked for; default DEFAULT_CHANNELS_BASE. */
  readonly channelsBase?: string;
  /** What `-` reads; default this process's standard input. */
  readonly stdin?: AsyncIterable<Uint8Array>;
}

/**
 * Reads a list of store paths, one a line, blank lines and lines that begin with `#` ignored, plain or compressed with xz,
 * zstd, gzip or bzip2 (told by its first bytes).
 * @param source an http, https or file address, `channel:NAME`, `-` for standard input, the name of a file, or bytes
 * @throws NixferryError `bad-root`, with the number of the line, for a line that is no store path, for a missing file and for
 * a list beyond LIMITS.storePathsListBytes; HttpError; `damage` for broken compression; the signal's reason
 */
export async function* readStorePathsList(
  source: string | AsyncIterable<Uint8Array>,
  options: StorePathsListOptions,
): AsyncGenerator<StorePath, void, undefined> {
  const { name, bytes } = await openSource(source, options);
  const { compression, stream } = await detectCompression(bytes);
  const { signal, storeDir } = options;
  const maxBytes = LIMITS.storePathsListBytes;
  let lineNumber = 0;
  for await (const line of splitLines(decompressStream(compression, stream, { maxBytes, signal }), name)) {
    lineNumber += 1;
    const text = line.trim();
    if (text !== '' && !text.startsWith('#')) yield parseLine(text, storeDir, name, lineNumber);
  }
}

interface OpenedSource {
  /** For messages. */
  readonly name: string;
  readonly bytes: AsyncIterable<Uint8Array>;
}

async function openSource(
  source: string | AsyncIterable<Uint8Array>,
  options: StorePathsListOptions,
): Promise<OpenedSource> {
  if (typeof source !== 'string') return { name: 'the list', bytes: source };
  if (source === '-') return { name: 'standard input', bytes: options.stdin ?? process.stdin };
  const channel = parseChannel(source);
  const address = channel === undefined ? source : channelStorePathsUrl(channel, options.channelsBase);
  if (/^https?:\/\//i.test(address)) return openUrl(address, options);
  const file = /^file:/i.test(address) ? filePathOf(address) : address;
  return { name: file, bytes: readFileChunks(file, options.signal) };
}

async function openUrl(address: string, { http, signal }: StorePathsListOptions): Promise<OpenedSource> {
  const url = new URL(address);
  const open = (offset: number): Promise<Transfer> =>
    openHttpTransfer(http, url, { offset, decodedBytesMax: LIMITS.storePathsListBytes, signal });
  const { retries, clock } = http;
  const { stream } = await openUnbroken(open, { retries, clock, signal, url: address });
  return { name: showUrl(url), bytes: stream };
}

async function* readFileChunks(
  file: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* createReadStream(file, signal === undefined ? {} : { signal });
  } catch (error) {
    signal?.throwIfAborted();
    const code = systemErrorCode(error);
    if (code === undefined) throw error;
    throw new NixferryError('bad-root', `${file}: the list of store paths cannot be read (${code})`, {
      hint: 'give the name of a file with one store path a line',
      cause: error,
    });
  }
}

function filePathOf(address: string): string {
  try {
    return fileURLToPath(address);
  } catch (error) {
    throw new NixferryError('bad-root', `${showUrl(address)}: not the address of a file on this machine`, {
      hint: 'write file:///FOLDER/FILE',
      cause: error,
    });
  }
}

interface DetectedStream {
  readonly compression: Compression;
  readonly stream: AsyncIterable<Uint8Array>;
}

/** Tells the compression by the first bytes; the stream that comes back holds them still. */
async function detectCompression(source: AsyncIterable<Uint8Array>): Promise<DetectedStream> {
  const iterator = source[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  let isEnded = false;
  while (head.length < MAGIC_BYTES && !isEnded) {
    const next = await iterator.next();
    if (next.done === true) isEnded = true;
    else head = Buffer.concat([head, next.value]);
  }
  const found = MAGICS.find(({ magic }) => head.subarray(0, magic.length).equals(magic));
  return { compression: found?.compression ?? 'none', stream: prepend(head, iterator) };
}

async function* prepend(
  head: Buffer,
  iterator: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let isEnded = false;
  try {
    if (head.length > 0) yield head;
    for (;;) {
      const next = await iterator.next();
      if (next.done === true) break;
      yield next.value;
    }
    isEnded = true;
  } finally {
    if (!isEnded) await iterator.return?.();
  }
}

const MAGICS: readonly { readonly compression: Compression; readonly magic: Buffer }[] = [
  { compression: 'xz', magic: Buffer.from('fd377a585a00', 'hex') },
  { compression: 'zstd', magic: Buffer.from('28b52ffd', 'hex') },
  { compression: 'gzip', magic: Buffer.from('1f8b', 'hex') },
  { compression: 'bzip2', magic: Buffer.from('BZh') },
];

const MAGIC_BYTES = 6;

async function* splitLines(source: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<string, void, undefined> {
  let rest = '';
  let count = 0;
  for await (const chunk of source) {
    // Store paths are ASCII; as latin1 no byte is lost, and what is not ASCII is refused with its line.
    const lines = (rest + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      count += 1;
      if (line.length > LIMITS.storePathsListLineBytes) throw badLine(name, count, 'too long for a store path');
      yield line;
    }
    if (rest.length > LIMITS.storePathsListLineBytes) throw badLine(name, count + 1, 'too long for a store path');
  }
  if (rest !== '') yield rest;
}

function parseLine(text: string, storeDir: string, name: string, lineNumber: number): StorePath {
  try {
    return parseStorePath(text, storeDir);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw badLine(name, lineNumber, `${quoteForMessage(text)} is no store path of ${storeDir}`, error);
  }
}

function badLine(name: string, lineNumber: number, what: string, cause?: unknown): NixferryError {
  return new NixferryError('bad-root', `${name}, line ${lineNumber}: ${what}`, {
    hint: 'the list must hold one store path a line; a line that begins with # is a comment',
    cause,
  });
}
