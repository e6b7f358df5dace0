import type { FastifyInstance } from 'fastify';
import { isHashPart } from '../../nix/store-path.ts';
import { ListingMaker } from '../listing-maker.ts';
import { CACHE_SHORTLY, sendBytes, sendFile, sendMalformed, sendMissing, sendOfUpstream, sendText } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/** `/HASH.ls`: the files in a path with their places in the NAR; as stored beside the narinfo, else made from the NAR. */
export function routeListing(app: FastifyInstance, context: ServeContext): void {
  const maker = new ListingMaker(context);
  app.route<{ Params: { hash: string } }>({
    method: ['GET', 'HEAD'],
    url: '/:hash.ls',
    handler: async (request, reply) => {
      const { hash } = request.params;
      if (!isHashPart(hash)) return sendMalformed(reply, '/<32 characters of a store path>.ls');
      // A listing that was left behind says nothing: the path itself must be here.
      const narInfo = await context.offers.find(hash);
      const answer = { contentType: 'application/json', cacheControl: CACHE_SHORTLY };
      const name = `${hash}.ls`;
      if (narInfo === undefined)
        return sendOfUpstream(context, request, reply, { ...answer, name, mayBeUpstream: true });
      if ((await context.files.stat(name)) !== undefined) {
        return sendFile(context, request, reply, { ...answer, name });
      }
      const listing = await maker.make(narInfo);
      if (listing === 'busy') return sendText(reply.header('retry-after', '5'), 503, 'too many listings at once');
      if (listing === undefined) return sendMissing(reply);
      return sendBytes(request, reply, { ...answer, ...listing });
    },
  });
}
