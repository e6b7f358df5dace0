import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { LIMITS } from '../../base/limits.ts';
import { matchesIfNoneMatch, matchesIfRange } from '../etag.ts';
import { WrongBytes } from '../held-back.ts';
import { LOCAL_NAR_PREFIX, type LocalNar, type LocalStore } from '../local-store.ts';
import { parseRange } from '../range.ts';
import { CACHE_FOREVER, CACHE_NEVER, sendMissing, sendText } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';
import { TransferPlaces } from '../transfer-places.ts';

/**
 * `/local/HASH-NARHASH.nar`: a path of the server's own store, read from there while it is sent. Both hashes stand in the address, so that it never means
 * other bytes; thus a broken transfer can be resumed, though the server reads it all again.
 */
export function routeLocalNar(app: FastifyInstance, context: ServeContext): void {
  const { localStore } = context;
  if (localStore === undefined) return;
  const places = new TransferPlaces(LIMITS.localTransfersAtOnce, LIMITS.localTransfersWaiting);
  app.route<{ Params: { file: string } }>({
    method: ['GET', 'HEAD'],
    url: `/${LOCAL_NAR_PREFIX}:file`,
    handler: (request, reply) => answer(localStore, places, request, reply),
  });
}

async function answer(
  store: LocalStore,
  places: TransferPlaces,
  request: FastifyRequest<{ Params: { file: string } }>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const nar = await store.openNar(request.params.file);
  if (nar === undefined) return sendMissing(reply);
  const { narHash, narSizeBytes } = nar.path;
  const etag = `"${narHash}"`;
  reply.header('etag', etag).header('cache-control', CACHE_FOREVER).header('accept-ranges', 'bytes');
  if (matchesIfNoneMatch(request.headers['if-none-match'], etag)) return reply.code(304).send();
  const isGet = request.method === 'GET';
  const counts = isGet && matchesIfRange(request.headers['if-range']?.toString(), etag);
  const range = counts ? parseRange(request.headers.range, narSizeBytes) : undefined;
  if (range === 'unsatisfiable') {
    reply.header('content-range', `bytes */${narSizeBytes}`).header('cache-control', CACHE_NEVER);
    return sendText(reply, 416, 'the NAR ends before the range that was asked for');
  }
  if (isGet && !places.mayWait) {
    reply.removeHeader('etag').header('retry-after', '5').header('cache-control', CACHE_NEVER);
    return sendText(reply, 503, 'too many transfers from the local store at once');
  }
  const { start, end } = range ?? { start: 0, end: narSizeBytes - 1 };
  reply.header('content-type', 'application/x-nix-nar').header('content-length', end - start + 1);
  if (range !== undefined) reply.code(206).header('content-range', `bytes ${start}-${end}/${narSizeBytes}`);
  if (!isGet) return reply.send();
  const body = await openBody(nar, places, start, end);
  if (body !== undefined) return reply.send(body);
  for (const name of ['content-length', 'content-range']) reply.removeHeader(name);
  return sendMissing(reply);
}

/** Undefined when it cannot be had after all, and nothing of it has been sent. */
async function openBody(
  nar: LocalNar,
  places: TransferPlaces,
  start: number,
  end: number,
): Promise<Readable | undefined> {
  const pieces = places.hold(() => nar.read(start, end));
  try {
    const first = await pieces.next();
    const body = Readable.from(startingWith(first, pieces), { objectMode: false });
    // Not in a `finally` of the generator: one that nobody has begun to read would keep its place for good.
    return body.once('close', () => void pieces.return());
  } catch (error) {
    if (error instanceof WrongBytes) return undefined;
    throw error;
  }
}

async function* startingWith(
  first: IteratorResult<Uint8Array, void>,
  rest: AsyncGenerator<Uint8Array, void, undefined>,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (first.done !== true) yield first.value;
  yield* rest;
}
