import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { asCompression } from '../../base/compression/compression.ts';
import { LIMITS } from '../../base/limits.ts';
import { findByAddress, findFlatFiles } from '../../mirror/flat-files.ts';
import { privateLayout } from '../../mirror/layout.ts';
import { type NarInfo, parseNarInfo } from '../../nix/narinfo.ts';
import type { HashPart } from '../../nix/store-path.ts';
import { matchesIfNoneMatch, matchesIfRange } from '../etag.ts';
import { narInfoOfAnswer } from '../express/express-answer.ts';
import { fileSizeIn, flatContents } from '../flat-contents.ts';
import { parseHashedAddress } from '../hashed-address.ts';
import { readSource } from '../pack-source.ts';
import { parseRange } from '../range.ts';
import { CACHE_FOREVER, CACHE_NEVER, sendMissing, sendText } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';
import { TransferPlaces } from '../transfer-places.ts';

/** A file as it can be sent. */
interface ServedFlatFile {
  readonly info: NarInfo;
  readonly sizeBytes: number;
  readonly etag: string;
}

const PREFIX = '/hashed/';
const TARBALLS_HOST = /^tarballs\.nixos\.org(?::\d+)?$/i;

/**
 * `/hashed/ALGORITHM/DIGEST` in every spelling: flat outputs by the hash of their bytes, for the `hashed-mirrors` of nix.conf and the NIX_HASHED_MIRRORS of
 * nixpkgs' fetchurl; and the same without `/hashed` for whoever believes to speak with tarballs.nixos.org. Everything that is no flat output is
 * a 404: a client would take whatever it gets for the file. To tarballs.nixos.org belong the bootstrap files, too, at addresses of their own.
 */
export function routeHashed(app: FastifyInstance, context: ServeContext): void {
  // Every source that is sent takes a decoder of its own.
  const places = new TransferPlaces(LIMITS.hashedTransfersAtOnce, LIMITS.hashedTransfersWaiting);
  app.route({
    method: ['GET', 'HEAD'],
    url: `${PREFIX}*`,
    handler: async (request, reply) => {
      const file = await findHashed(context, request.url.slice(PREFIX.length));
      return file === undefined ? sendMissing(reply) : answer(context, places, request, reply, file);
    },
  });
  for (const url of ['/md5/*', '/sha1/*', '/sha256/*', '/sha512/*', '//*', '/stdenv/*']) {
    app.route({
      method: ['GET', 'HEAD'],
      url,
      handler: async (request, reply) => {
        if (!TARBALLS_HOST.test(request.headers.host ?? '')) return sendMissing(reply);
        const file = request.url.startsWith('/stdenv/')
          ? await findAddressed(context, request.url)
          : await findHashed(context, request.url.slice(1));
        return file === undefined ? sendMissing(reply) : answer(context, places, request, reply, file);
      },
    });
  }
}

function answer(
  context: ServeContext,
  places: TransferPlaces,
  request: FastifyRequest,
  reply: FastifyReply,
  file: ServedFlatFile,
): FastifyReply {
  const { sizeBytes, etag } = file;
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
      places.hold(() => flatContents(readSource(context.files, file.info), start, end)),
      { objectMode: false },
    ),
  );
}

/** A path that clients see, and that is the file still. */
async function findHashed(context: ServeContext, address: string): Promise<ServedFlatFile | undefined> {
  const hash = parseHashedAddress(address);
  if (hash === undefined) return undefined;
  for (const { hashPart, narHash, sizeBytes } of findFlatFiles(tableOf(context), hash)) {
    const info = await findVisible(context, hashPart);
    if (info?.narHash === narHash) return { info, sizeBytes, etag: `"${hash}"` };
  }
  return undefined;
}

/** What is fetched from that place and is one file, executable or not; an unpacked archive cannot be packed again as it was. */
async function findAddressed(context: ServeContext, path: string): Promise<ServedFlatFile | undefined> {
  for (const scheme of ['http', 'https']) {
    for (const hashPart of findByAddress(tableOf(context), `${scheme}://tarballs.nixos.org${path}`)) {
      const info = await findVisible(context, hashPart);
      const sizeBytes = info === undefined ? undefined : await fileSizeIn(readSource(context.files, info));
      if (info !== undefined && sizeBytes !== undefined) return { info, sizeBytes, etag: `"${info.narHash}"` };
    }
  }
  return undefined;
}

function tableOf({ directory }: ServeContext): string {
  return privateLayout(directory).flatFilesFile;
}

async function findVisible({ narInfos, storeDir }: ServeContext, hashPart: HashPart): Promise<NarInfo | undefined> {
  const served = await narInfos.find(hashPart);
  if (served === undefined) return undefined;
  const info = parseNarInfo(narInfoOfAnswer(served.answer), storeDir);
  return asCompression(info.compression) === undefined ? undefined : info;
}
