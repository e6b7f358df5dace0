import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { isHashPart } from '../../nix/store-path.ts';
import { etagOfBytes } from '../etag.ts';
import { NARINFO_TYPE, narInfoOfAnswer } from '../express/express-answer.ts';
import { CACHE_SHORTLY, sendBytes, sendMalformed, sendMissing } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/** `/HASH.narinfo`: whether a path is here, and what to know of it. The bytes are those on the disk, signatures and all. */
export function routeNarInfo(app: FastifyInstance, context: ServeContext): void {
  app.route<{ Params: { hash: string } }>({
    method: ['GET', 'HEAD'],
    url: '/:hash.narinfo',
    handler: async (request, reply) => {
      const { hash } = request.params;
      if (!isHashPart(hash)) return sendMalformed(reply, '/<32 characters of a store path>.narinfo');
      const found = await context.narInfos.find(hash);
      if (found === undefined) return sendOffer(context, request, reply, hash);
      return sendBytes(request, reply, {
        bytes: narInfoOfAnswer(found.answer),
        etag: found.etag,
        contentType: NARINFO_TYPE,
        cacheControl: CACHE_SHORTLY,
      });
    },
  });
}

/** What an upstream has, where there is one: not in the mirror yet, and gone when the upstream is. */
async function sendOffer(
  context: ServeContext,
  request: FastifyRequest,
  reply: FastifyReply,
  hash: string,
): Promise<FastifyReply> {
  const bytes = await context.proxy?.narInfo(hash);
  if (bytes === undefined) return sendMissing(reply);
  return sendBytes(request, reply, {
    bytes,
    etag: etagOfBytes(bytes),
    contentType: NARINFO_TYPE,
    cacheControl: CACHE_SHORTLY,
  });
}
