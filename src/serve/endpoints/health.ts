import type { FastifyInstance } from 'fastify';
import { formatBytes } from '../../base/amounts.ts';
import { freeBytes } from '../../base/files.ts';
import { LIMITS } from '../../base/limits.ts';
import { runHealthChecks } from '../health-checks.ts';
import { CACHE_NEVER, sendText } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/** `/healthz`: the process answers; restart it when it does not. `/readyz`: clients can be sent here; the reasons when not. */
export function routeHealth(app: FastifyInstance, context: ServeContext): void {
  app.route({
    method: ['GET', 'HEAD'],
    url: '/healthz',
    handler: async (_request, reply) => sendText(reply.header('cache-control', CACHE_NEVER), 200, 'ok'),
  });
  app.route({
    method: ['GET', 'HEAD'],
    url: '/readyz',
    handler: async (_request, reply) => {
      const checks = await runHealthChecks(context);
      const ready = checks.every(({ ok }) => ok);
      return reply
        .code(ready ? 200 : 503)
        .header('cache-control', CACHE_NEVER)
        .send({ ready, checks, ...(await proxyFacts(context)) });
    },
  });
}

/** That an upstream is dead is no reason to send clients away: what is here is served all the same. */
async function proxyFacts({ proxy, directory }: ServeContext) {
  if (proxy === undefined) return {};
  const [facts, disk] = await Promise.all([proxy.facts(), diskFacts(directory)]);
  return { ...(facts ?? { upstreams: [], proxy: 'is being started again' }), ...disk };
}

/** Nor is a full disk: what is fetched is passed on without being kept, as long as there is room for that elsewhere. */
async function diskFacts(directory: string) {
  // Where it cannot be told, another check says so.
  const free = await freeBytes(directory).catch(() => undefined);
  if (free === undefined || free >= LIMITS.proxySpareBytes) return {};
  const reason = `${formatBytes(free)} are free on the file system of ${directory}: what is fetched is not kept`;
  return { disk: { state: 'full', reason, next: 'free some room there; it needs no restart' } };
}
