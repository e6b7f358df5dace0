import type { FastifyInstance } from 'fastify';
import { SERVER_STATUS_ADDRESS } from '../../mirror/server-status.ts';
import { CACHE_NEVER } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/** `/nixferry/status.json`: what this server is and holds, for programs: keys, roots, a path to try a client out with. */
export function routeStatus(app: FastifyInstance, { summary }: ServeContext): void {
  app.route({
    method: ['GET', 'HEAD'],
    url: `/${SERVER_STATUS_ADDRESS}`,
    handler: async (_request, reply) => reply.header('cache-control', CACHE_NEVER).send(await summary.read()),
  });
}
