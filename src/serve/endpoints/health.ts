import { opendir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { CACHE_INFO_NAME } from '../../mirror/layout.ts';
import { parseCacheInfo } from '../../nix/cache-info.ts';
import { CACHE_NEVER, sendText } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** Why not. */
  readonly reason?: string;
}

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
      const checks = await runChecks(context);
      const ready = checks.every(({ ok }) => ok);
      return reply
        .code(ready ? 200 : 503)
        .header('cache-control', CACHE_NEVER)
        .send({ ready, checks, ...(await upstreamFacts(context)) });
    },
  });
}

/** That an upstream is dead is no reason to send clients away: what is here is served all the same. */
async function upstreamFacts({ proxy }: ServeContext) {
  if (proxy === undefined) return {};
  const upstreams = await proxy.upstreams();
  return { upstreams: upstreams ?? [], ...(upstreams === undefined ? { proxy: 'is being started again' } : {}) };
}

function runChecks(context: ServeContext): Promise<Check[]> {
  return Promise.all([
    check('running', async () => {
      if (context.stopping.aborted) throw new Error('the server is stopping');
    }),
    check('mirror readable', () => readFirstEntry(context.directory)),
    check('nix-cache-info', async () => {
      const bytes = await context.files.read(CACHE_INFO_NAME);
      if (bytes === undefined) throw new Error(`${CACHE_INFO_NAME} is missing`);
      const { storeDir } = parseCacheInfo(bytes);
      if (storeDir !== context.storeDir) {
        throw new Error(`StoreDir was ${context.storeDir} and is now ${storeDir}: restart the server`);
      }
    }),
    check('nar folder readable', () => readFirstEntry(join(context.directory, 'nar'))),
    check('file system answers', async () => void (await statfs(context.directory))),
  ]);
}

async function check(name: string, probe: () => Promise<void>): Promise<Check> {
  try {
    await probe();
    return { name, ok: true };
  } catch (error) {
    return { name, ok: false, reason: error instanceof Error ? error.message : String(error) };
  }
}

/** A medium that was pulled out still has its mount point: only reading tells. */
async function readFirstEntry(directory: string): Promise<void> {
  const folder = await opendir(directory);
  try {
    await folder.read();
  } finally {
    await folder.close();
  }
}
