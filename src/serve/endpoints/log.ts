import type { FastifyInstance } from 'fastify';
import { CACHE_SHORTLY, sendFile, sendMalformed } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';
import { isStoreBaseName } from '../store-base-name.ts';

/** `/log/NAME.drv`: what a build printed, as `nix log` asks for it. */
export function routeLog(app: FastifyInstance, context: ServeContext): void {
  app.route<{ Params: { name: string } }>({
    method: ['GET', 'HEAD'],
    url: '/log/:name',
    handler: async (request, reply) => {
      const { name } = request.params;
      if (!isStoreBaseName(name)) return sendMalformed(reply, '/log/<base name of a derivation>');
      return sendFile(context, request, reply, {
        name: `log/${name}`,
        contentType: 'text/plain; charset=utf-8',
        cacheControl: CACHE_SHORTLY,
        mayBeUpstream: true,
      });
    },
  });
}
