import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { asCompression } from '../../base/compression/compression.ts';
import { decompressStream } from '../../base/compression/decompress-stream.ts';
import { LIMITS } from '../../base/limits.ts';
import { formatHash, type HashPart, isHashPart, type NarInfo, parseNarInfo } from '../../nix/index.ts';
import { matchesIfNoneMatch } from '../etag.ts';
import { narInfoOfAnswer } from '../express/express-answer.ts';
import { listServedFlakes, type ServedFlake, type ServedFlakes } from '../flakes.ts';
import { publicUrlFor } from '../public-url.ts';
import { CACHE_FOREVER, CACHE_SHORTLY, sendMalformed, sendMissing, sendText } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';
import { sourceTarball } from '../source-tarball.ts';
import { TransferPlaces } from '../transfer-places.ts';

const SUFFIX = '.tar.gz';

/**
 * `/flake-registry.json`: what short names of flakes mean. `/flakes/NAME.tar.gz`, `/flakes/NAME/BRANCH.tar.gz`: the newest revision of a source, made from its NAR;
 * the answer tells Nix by `Link` (lockable HTTP tarballs) where that very revision stays: `/sources/LAST-MODIFIED/HASH.tar.gz`, for any source that clients see.
 */
export function routeFlakes(app: FastifyInstance, context: ServeContext): void {
  const places = new TransferPlaces(LIMITS.sourceTarballsAtOnce, LIMITS.sourceTarballsWaiting);
  app.route({
    method: ['GET', 'HEAD'],
    url: '/flake-registry.json',
    handler: async (request, reply) => {
      const flakes = listServedFlakes(await context.roots.read());
      const base = publicUrlFor(request, context.publicUrl);
      if (base === undefined) return sendText(reply, 400, 'the registry holds addresses: send a Host field');
      return reply.header('cache-control', CACHE_SHORTLY).send(registryOf(flakes, base));
    },
  });
  for (const url of ['/flakes/:name', '/flakes/:name/:branch']) {
    app.route<{ Params: { name: string; branch?: string } }>({
      method: ['GET', 'HEAD'],
      url,
      handler: async (request, reply) => {
        const name = Object.values(request.params).join('/');
        if (!name.endsWith(SUFFIX)) return sendMalformed(reply, `/flakes/<name>${SUFFIX}`);
        const flake = listServedFlakes(await context.roots.read()).byName.get(name.slice(0, -SUFFIX.length));
        if (flake === undefined) return sendMissing(reply);
        return sendSource(context, places, request, reply, { flake, isNewest: true });
      },
    });
  }
  app.route<{ Params: { modified: string; file: string } }>({
    method: ['GET', 'HEAD'],
    url: '/sources/:modified/:file',
    handler: async (request, reply) => {
      const { modified, file } = request.params;
      const hashPart = file.endsWith(SUFFIX) ? file.slice(0, -SUFFIX.length) : '';
      if (!isHashPart(hashPart) || !/^[0-9]{1,10}$/.test(modified)) {
        return sendMalformed(reply, `/sources/<seconds since 1970>/<32 digits>${SUFFIX}`);
      }
      const flake: ServedFlake = {
        hashPart: hashPart as HashPart,
        lastModified: Number(modified),
        rev: undefined,
        revCount: undefined,
        dir: undefined,
      };
      return sendSource(context, places, request, reply, { flake, isNewest: false });
    },
  });
}

/** Longer branches come first: Nix takes the first entry that fits. */
function registryOf({ registered, byName }: ServedFlakes, base: string): unknown {
  const flakes = registered.toReversed().map(({ id, ref, name }) => {
    const dir = byName.get(name)?.dir;
    return {
      from: { type: 'indirect', id, ...(ref === undefined ? {} : { ref }) },
      to: { type: 'tarball', url: `${base}/flakes/${name}${SUFFIX}`, ...(dir === undefined ? {} : { dir }) },
      exact: true,
    };
  });
  return { version: 2, flakes };
}

interface SourceAnswer {
  readonly flake: ServedFlake;
  /** Asked for by a name that may mean something else tomorrow. */
  readonly isNewest: boolean;
}

async function sendSource(
  context: ServeContext,
  places: TransferPlaces,
  request: FastifyRequest,
  reply: FastifyReply,
  { flake, isNewest }: SourceAnswer,
): Promise<FastifyReply> {
  const info = await findSource(context, flake.hashPart);
  if (info === undefined) return sendMissing(reply);
  const base = publicUrlFor(request, context.publicUrl);
  if (isNewest && base !== undefined) reply.header('link', `<${immutableUrl(base, flake, info)}>; rel="immutable"`);
  const etag = `"${info.narHash.slice('sha256:'.length)}-${flake.lastModified}"`;
  reply.header('etag', etag).header('cache-control', isNewest ? CACHE_SHORTLY : CACHE_FOREVER);
  if (matchesIfNoneMatch(request.headers['if-none-match'], etag)) return reply.code(304).send();
  reply.header('content-type', 'application/gzip');
  if (request.method === 'HEAD') return reply.send();
  if (!places.mayWait) {
    for (const name of ['link', 'etag', 'cache-control']) reply.removeHeader(name);
    return sendText(reply.header('retry-after', '5'), 503, 'too many sources at once');
  }
  const tarball = places.hold(() => readTarball(context, info, flake.lastModified));
  return reply.send(Readable.from(tarball, { objectMode: false }));
}

/** A source: a folder named by its contents, and by nothing else. */
async function findSource(context: ServeContext, hashPart: HashPart): Promise<NarInfo | undefined> {
  const served = await context.narInfos.find(hashPart);
  if (served === undefined) return undefined;
  const info = parseNarInfo(narInfoOfAnswer(served.answer), context.storeDir);
  const isSource = info.contentAddress?.startsWith('fixed:r:sha256:') === true && info.references.length === 0;
  return isSource && asCompression(info.compression) !== undefined ? info : undefined;
}

function immutableUrl(base: string, { hashPart, lastModified, rev, revCount }: ServedFlake, info: NarInfo): string {
  const query = new URLSearchParams({ narHash: formatHash(info.narHash, 'sri') });
  if (rev !== undefined) query.set('rev', rev);
  if (rev !== undefined && revCount !== undefined) query.set('revCount', String(revCount));
  return `${base}/sources/${lastModified}/${hashPart}${SUFFIX}?${query.toString()}`;
}

async function* readTarball(
  { files, stopping }: ServeContext,
  info: NarInfo,
  lastModified: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const compression = asCompression(info.compression);
  const opened = await files.open(info.url);
  if (opened === undefined || compression === undefined) throw new Error(`${info.url} is gone`);
  try {
    const nar = decompressStream(compression, opened.chunks(), { maxBytes: info.narSizeBytes });
    const tar = Readable.from(inPieces(sourceTarball(nar, lastModified)), { objectMode: false });
    const packed = createGzip({ level: 1, chunkSize: LIMITS.fileChunkBytes });
    tar.on('error', (error) => packed.destroy(error));
    stopping.throwIfAborted();
    yield* tar.pipe(packed) as AsyncIterable<Uint8Array>;
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
