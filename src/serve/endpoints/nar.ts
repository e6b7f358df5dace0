import type { FastifyInstance } from 'fastify';
import { NAR_PREFIX } from '../../mirror/layout.ts';
import { isAliasOf, parseNarAlias } from '../../mirror/nar-alias.ts';
import { parseNarInfo } from '../../nix/narinfo.ts';
import { narInfoOfAnswer } from '../express/express-answer.ts';
import { CACHE_FOREVER, CACHE_SHORTLY, type FileAnswer, sendFile, sendMalformed } from '../send.ts';
import { sendColdNar } from '../send-cold-nar.ts';
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
      const name = await nameInMirror(context, `${NAR_PREFIX}${file}`);
      const answer: FileAnswer = {
        name,
        contentType: 'application/x-nix-nar',
        cacheControl: hash === undefined ? CACHE_SHORTLY : CACHE_FOREVER,
        ...(hash === undefined ? {} : { etag: `"${hash}"` }),
      };
      const { proxy } = context;
      if (proxy === undefined || (await context.files.stat(name)) !== undefined) {
        return sendFile(context, request, reply, answer);
      }
      return sendColdNar(context, proxy, request, reply, answer);
    },
  });
}

/** A caching proxy may have given a NAR a name before the hash of its file was known; clients remember it. */
async function nameInMirror(context: ServeContext, name: string): Promise<string> {
  const alias = parseNarAlias(name);
  const found = alias === undefined ? undefined : await context.narInfos.find(alias.hashPart);
  if (alias === undefined || found === undefined) return name;
  const info = parseNarInfo(narInfoOfAnswer(found.answer), context.storeDir);
  return isAliasOf(alias, info) ? info.url : name;
}

const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9+._?=-]{0,254}$/;
const HASHED_NAME = /^([0-9abcdfghijklmnpqrsvwxyz]{52})\.nar(?:\.[a-z0-9]{1,8})?$/;
