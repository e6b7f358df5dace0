import type { FastifyInstance } from 'fastify';
import { CACHE_SHORTLY, sendFile, sendMalformed } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/** `/debuginfo/BUILDID.debug`: where the debug symbols of a binary are, as dwarffs and debuggers ask for it. */
export function routeDebugInfo(app: FastifyInstance, context: ServeContext): void {
  app.route<{ Params: { name: string } }>({
    method: ['GET', 'HEAD'],
    url: '/debuginfo/:name',
    handler: async (request, reply) => {
      const { name } = request.params;
      if (!BUILD_ID.test(name)) return sendMalformed(reply, '/debuginfo/<build id>.debug');
      return sendFile(context, request, reply, {
        name: `debuginfo/${name}`,
        contentType: 'application/json',
        cacheControl: CACHE_SHORTLY,
        mayBeUpstream: true,
      });
    },
  });
}

// 40 hex digits for GNU ld; other linkers make shorter and longer ones. Some versions of Nix leave out the suffix.
const BUILD_ID = /^[0-9a-f]{2,128}(?:\.debug)?$/;
