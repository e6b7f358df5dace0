import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { asCompression } from '../../base/compression/compression.ts';
import { decompressStream } from '../../base/compression/decompress-stream.ts';
import { Semaphore } from '../../base/concurrency.ts';
import { LIMITS } from '../../base/limits.ts';
import { findFlatFiles } from '../../mirror/flat-files.ts';
import { privateLayout } from '../../mirror/layout.ts';
import type { Hash } from '../../nix/hash.ts';
import { type NarInfo, parseNarInfo } from '../../nix/narinfo.ts';
import { matchesIfNoneMatch, matchesIfRange } from '../etag.ts';
import { narInfoOfAnswer } from '../express/express-answer.ts';
import { flatContents } from '../flat-contents.ts';
import { parseHashedAddress } from '../hashed-address.ts';
import { parseRange } from '../range.ts';
import { CACHE_FOREVER, CACHE_NEVER, sendMissing, sendText } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/** A source as it can be sent. */
interface ServedFlatFile {
  readonly info: NarInfo;
  readonly sizeBytes: number;
}

const PREFIX = '/hashed/';
const TARBALLS_HOST = /^tarballs\.nixos\.org(?::\d+)?$/i;

/**
 * `/hashed/ALGORITHM/DIGEST` in every spelling: flat outputs by the hash of their bytes, for the `hashed-mirrors` of nix.conf and the NIX_HASHED_MIRRORS of
 * nixpkgs' fetchurl; and the same without `/hashed` for whoever believes to speak with tarballs.nixos.org. Everything that is no flat output is
 * a 404: a client would take whatever it gets for the file.
 */
export function routeHashed(app: FastifyInstance, context: ServeContext): void {
  const places = new Places();
  const answer = (request: FastifyRequest, reply: FastifyReply, address: string) =>
    answerHashed(context, places, request, reply, parseHashedAddress(address));
  app.route({
    method: ['GET', 'HEAD'],
    url: `${PREFIX}*`,
    handler: (request, reply) => answer(request, reply, request.url.slice(PREFIX.length)),
  });
  for (const url of ['/md5/*', '/sha1/*', '/sha256/*', '/sha512/*', '//*']) {
    app.route({
      method: ['GET', 'HEAD'],
      url,
      handler: async (request, reply) => {
        const isForTarballs = TARBALLS_HOST.test(request.headers.host ?? '');
        return isForTarballs ? answer(request, reply, request.url.slice(1)) : sendMissing(reply);
      },
    });
  }
}

async function answerHashed(
  context: ServeContext,
  places: Places,
  request: FastifyRequest,
  reply: FastifyReply,
  hash: Hash | undefined,
): Promise<FastifyReply> {
  const file = hash === undefined ? undefined : await findServed(context, hash);
  if (hash === undefined || file === undefined) return sendMissing(reply);
  const { sizeBytes } = file;
  const etag = `"${hash}"`;
  reply.header('etag', etag).header('cache-control', CACHE_FOREVER).header('accept-ranges', 'bytes');
  if (matchesIfNoneMatch(request.headers['if-none-match'], etag)) return reply.code(304).send();
  reply.header('content-type', 'application/octet-stream');
  const isGet = request.method === 'GET';
  const counts = isGet && matchesIfRange(request.headers['if-range']?.toString(), etag);
  const range = counts ? parseRange(request.headers.range, sizeBytes) : undefined;
  if (range === 'unsatisfiable') {
    reply.header('content-range', `bytes */${sizeBytes}`).header('cache-control', CACHE_NEVER);
    return sendText(reply, 416, 'the file ends before the range that was asked for');
  }
  const { start, end } = range ?? { start: 0, end: sizeBytes - 1 };
  reply.header('content-length', end - start + 1);
  if (range !== undefined) reply.code(206).header('content-range', `bytes ${start}-${end}/${sizeBytes}`);
  if (!isGet || end < start) return reply.send();
  if (!places.mayWait) {
    for (const name of ['content-length', 'content-range', 'etag']) reply.removeHeader(name);
    return sendText(
      reply.header('retry-after', '5').header('cache-control', CACHE_NEVER),
      503,
      'too many sources at once',
    );
  }
  return reply.send(
    Readable.from(
      places.hold(() => readFile(context, file.info, start, end)),
      { objectMode: false },
    ),
  );
}

/** A path that clients see, and that is the file still. */
async function findServed(context: ServeContext, hash: Hash): Promise<ServedFlatFile | undefined> {
  for (const { hashPart, narHash, sizeBytes } of findFlatFiles(privateLayout(context.directory).flatFilesFile, hash)) {
    const served = await context.narInfos.find(hashPart);
    if (served === undefined) continue;
    const info = parseNarInfo(narInfoOfAnswer(served.answer), context.storeDir);
    if (info.narHash === narHash && asCompression(info.compression) !== undefined) return { info, sizeBytes };
  }
  return undefined;
}

async function* readFile(
  { files }: ServeContext,
  info: NarInfo,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const compression = asCompression(info.compression);
  const opened = await files.open(info.url);
  if (opened === undefined || compression === undefined) throw new Error(`${info.url} is gone`);
  try {
    const nar = decompressStream(compression, opened.chunks(), { maxBytes: info.narSizeBytes });
    yield* flatContents(nar, start, end);
  } finally {
    opened.close();
  }
}

/** Every source that is sent takes a decoder of its own: a few at a time, a few more may wait. */
class Places {
  readonly #places = new Semaphore(LIMITS.hashedTransfersAtOnce);
  #held = 0;

  get mayWait(): boolean {
    return this.#held < LIMITS.hashedTransfersAtOnce + LIMITS.hashedTransfersWaiting;
  }

  async *hold(work: () => AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    this.#held += 1;
    try {
      await this.#places.acquire();
      try {
        yield* work();
      } finally {
        this.#places.release();
      }
    } finally {
      this.#held -= 1;
    }
  }
}
