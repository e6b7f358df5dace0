import type { FastifyInstance } from 'fastify';
import { isHashPart } from '../../nix/store-path.ts';
import { NARINFO_TYPE, narInfoOfAnswer } from '../express/express-answer.ts';
import { CACHE_SHORTLY, sendBytes, sendMalformed, sendMissing } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/**
 * `/HASH.narinfo`: whether a path is here, and what to know of it. The bytes are those on the disk, signatures and all; or, where there are upstreams,
 * those of a narinfo that is not here yet and gone when its upstream is.
 */
export function routeNarInfo(app: FastifyInstance, context: ServeContext): void {
  app.route<{ Params: { hash: string } }>({
    method: ['GET', 'HEAD'],
    url: '/:hash.narinfo',
    handler: async (request, reply) => {
      const { hash } = request.params;
      if (!isHashPart(hash)) return sendMalformed(reply, '/<32 characters of a store path>.narinfo');
      const found = (await context.offers.find(hash)) ?? (await context.offered.ask(hash));
      if (found === undefined) return sendMissing(reply);
      return sendBytes(request, reply, {
        bytes: narInfoOfAnswer(found.answer),
        etag: found.etag,
        contentType: NARINFO_TYPE,
        cacheControl: CACHE_SHORTLY,
      });
    },
  });
}
