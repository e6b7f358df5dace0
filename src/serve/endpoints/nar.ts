import type { FastifyInstance } from 'fastify';
import { NAR_PREFIX } from '../../mirror/layout.ts';
import { CACHE_FOREVER, CACHE_SHORTLY, sendFile, sendMalformed } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/**
 * `/nar/FILE`: the NARs, with Range, since Nix goes on with a broken transfer only where the first answer allowed it. Never with a
 * Content-Encoding: clients neither undo it on compressed NARs nor resume with it.
 */
export function routeNar(app: FastifyInstance, context: ServeContext): void {
  app.route<{ Params: { file: string } }>({
    method: ['GET', 'HEAD'],
    url: `/${NAR_PREFIX}:file`,
    handler: async (request, reply) => {
      const { file } = request.params;
      if (!FILE_NAME.test(file)) return sendMalformed(reply, '/nar/<hash>.nar, with the suffix of its compression');
      // Named by the hash of its bytes, the file cannot become another. What else a cache made elsewhere holds might.
      const hash = HASHED_NAME.exec(file)?.[1];
      return sendFile(context, request, reply, {
        name: `${NAR_PREFIX}${file}`,
        contentType: 'application/x-nix-nar',
        cacheControl: hash === undefined ? CACHE_SHORTLY : CACHE_FOREVER,
        ...(hash === undefined ? {} : { etag: `"${hash}"` }),
      });
    },
  });
}

const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9+._?=-]{0,254}$/;
const HASHED_NAME = /^([0-9abcdfghijklmnpqrsvwxyz]{52})\.nar(?:\.[a-z0-9]{1,8})?$/;
