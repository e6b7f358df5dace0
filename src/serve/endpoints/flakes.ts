import type { FastifyInstance } from 'fastify';
import { listServedFlakes, type ServedFlakes } from '../../mirror/served-flakes.ts';
import { isHashPart } from '../../nix/index.ts';
import { FOLDER_NAME } from '../only-folder.ts';
import { publicUrlFor } from '../public-url.ts';
import { CACHE_SHORTLY, sendMalformed, sendMissing, sendText } from '../send.ts';
import { sendNewest, sendRevision, TARBALL_SUFFIX } from '../send-source.ts';
import type { ServeContext } from '../serve-context.ts';

/**
 * `/flake-registry.json`: what short names of flakes mean. `/flakes/NAME.tar.gz`, `/flakes/NAME/BRANCH.tar.gz`: the newest revision of a source, made from its NAR;
 * that very revision stays at `/sources/LAST-MODIFIED/HASH.tar.gz`, or, where only one folder of a tree is wanted, at `/sources/LAST-MODIFIED/HASH/FOLDER.tar.gz`.
 */
export function routeFlakes(app: FastifyInstance, context: ServeContext): void {
  app.route({
    method: ['GET', 'HEAD'],
    url: '/flake-registry.json',
    handler: async (request, reply) => {
      const flakes = listServedFlakes(await context.roots.read());
      const base = publicUrlFor(request, context.publicUrl);
      if (base === undefined) return sendText(reply, 400, 'the registry holds addresses: send a Host field');
      return reply.header('cache-control', CACHE_SHORTLY).send(registryOf(flakes, base));
    },
  });
  for (const url of ['/flakes/:name', '/flakes/:name/:branch']) {
    app.route<{ Params: { name: string; branch?: string } }>({
      method: ['GET', 'HEAD'],
      url,
      handler: async (request, reply) => {
        const name = withoutSuffix(Object.values(request.params).join('/'));
        if (name === undefined) return sendMalformed(reply, `/flakes/<name>${TARBALL_SUFFIX}`);
        const flake = listServedFlakes(await context.roots.read()).byName.get(name);
        return flake === undefined ? sendMissing(reply) : sendNewest(context, request, reply, flake);
      },
    });
  }
  for (const url of ['/sources/:modified/:hash', '/sources/:modified/:hash/:folder']) {
    app.route<{ Params: { modified: string; hash: string; folder?: string } }>({
      method: ['GET', 'HEAD'],
      url,
      handler: async (request, reply) => {
        const { modified, hash, folder } = request.params;
        const last = withoutSuffix(folder ?? hash) ?? '';
        const hashPart = folder === undefined ? last : hash;
        const isFolder = folder === undefined || FOLDER_NAME.test(last);
        if (!isHashPart(hashPart) || !isFolder || !/^[0-9]{1,10}$/.test(modified)) {
          return sendMalformed(reply, `/sources/<seconds since 1970>/<32 digits>${TARBALL_SUFFIX}`);
        }
        return sendRevision(context, request, reply, {
          hashPart,
          lastModified: Number(modified),
          folder: folder === undefined ? undefined : last,
        });
      },
    });
  }
}

function withoutSuffix(file: string): string | undefined {
  return file.endsWith(TARBALL_SUFFIX) ? file.slice(0, -TARBALL_SUFFIX.length) : undefined;
}

/** Longer branches come first: Nix takes the first entry that fits. */
function registryOf({ registered, byName }: ServedFlakes, base: string): unknown {
  const flakes = registered.toReversed().map(({ id, ref, name }) => {
    const dir = byName.get(name)?.dir;
    return {
      from: { type: 'indirect', id, ...(ref === undefined ? {} : { ref }) },
      to: {
        type: 'tarball',
        url: `${base}/flakes/${name}${TARBALL_SUFFIX}`,
        ...(dir === undefined ? {} : { dir }),
      },
      exact: true,
    };
  });
  return { version: 2, flakes };
}
