import type { FastifyInstance } from 'fastify';
import { CACHE_INFO_NAME } from '../../mirror/layout.ts';
import { formatCacheInfo, parseCacheInfo } from '../../nix/cache-info.ts';
import { etagOfBytes } from '../etag.ts';
import { CACHE_SHORTLY, sendBytes, sendMissing } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/** Between cache.nixos.org (40) and nothing: a mirror nearby is asked first. Lower wins. */
export const DEFAULT_PRIORITY = 30;

/** `/nix-cache-info`: the first thing that Nix asks; without it we are no cache. */
export function routeCacheInfo(app: FastifyInstance, context: ServeContext): void {
  app.route({
    method: ['GET', 'HEAD'],
    url: `/${CACHE_INFO_NAME}`,
    handler: async (request, reply) => {
      const stored = await context.files.read(CACHE_INFO_NAME);
      if (stored === undefined) return sendMissing(reply);
      const { storeDir, priority } = parseCacheInfo(stored);
      const bytes = Buffer.from(
        formatCacheInfo({
          storeDir,
          // Without it clients ask for one path after the other.
          wantMassQuery: true,
          priority: context.priority ?? priority ?? DEFAULT_PRIORITY,
        }),
      );
      return sendBytes(request, reply, {
        bytes,
        etag: etagOfBytes(bytes),
        contentType: 'text/x-nix-cache-info',
        cacheControl: CACHE_SHORTLY,
      });
    },
  });
}
