import type { FastifyInstance } from 'fastify';
import { type ClientConfigFormat, formatClientConfig } from '../../site/client-config.ts';
import { reachedUrl } from '../public-url.ts';
import { CACHE_NEVER, sendText } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/** The files by which a client comes to use this server, by address. */
export const CLIENT_FILES: ReadonlyMap<string, ClientConfigFormat> = new Map([
  ['/nix.conf', 'nix-conf'],
  ['/client.nix', 'nixos'],
  ['/nixos-install.sh', 'nixos-install'],
  ['/nix-env.sh', 'shell'],
]);

/**
 * `/nix.conf`, `/client.nix` and the others: what `nixferry client-config` prints, with the address by which the client has reached us; with `?flakes` for
 * clients that use flakes. Whoever fetches them over plain HTTP trusts the network for the keys in them.
 */
export function routeClientFiles(app: FastifyInstance, context: ServeContext): void {
  for (const [address, format] of CLIENT_FILES) {
    app.route<{ Querystring: Record<string, unknown> }>({
      method: ['GET', 'HEAD'],
      url: address,
      handler: async (request, reply) => {
        const { publicKeys } = await context.summary.read();
        if (publicKeys.length === 0)
          return sendText(reply, 404, 'this mirror has no key yet: on the server, type: nixferry init');
        const url = reachedUrl(request, context.publicUrl);
        const flakes = Object.hasOwn(request.query, 'flakes');
        const gitRewrites = await context.summary.gitRewrites();
        const text = formatClientConfig({ format, url, publicKeys, flakes, gitRewrites });
        return reply
          .header('content-type', 'text/plain; charset=utf-8')
          .header('x-content-type-options', 'nosniff')
          .header('vary', 'host')
          .header('cache-control', CACHE_NEVER)
          .send(text);
      },
    });
  }
}
