import type { FastifyInstance } from 'fastify';
import { CACHE_SHORTLY, sendFile, sendMalformed } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';
import { isStoreBaseName } from '../store-base-name.ts';

/**
 * Which path a content-addressed derivation came to: `/realisations/sha256:HEX!OUTPUT.doi` up to Nix 2.34,
 * `/build-trace-v2/NAME.drv/OUTPUT.doi` since. The number will grow, so any is answered from the folder of that name.
 */
export function routeRealisation(app: FastifyInstance, context: ServeContext): void {
  const answer = { contentType: 'application/json', cacheControl: CACHE_SHORTLY, mayBeUpstream: true };
  app.route<{ Params: { id: string } }>({
    method: ['GET', 'HEAD'],
    url: '/realisations/:id',
    handler: async (request, reply) => {
      const { id } = request.params;
      if (!REALISATION_ID.test(id)) return sendMalformed(reply, '/realisations/sha256:<hash>!<output>.doi');
      return sendFile(context, request, reply, { ...answer, name: `realisations/${id}` });
    },
  });
  app.route<{ Params: { version: string; derivation: string; output: string } }>({
    method: ['GET', 'HEAD'],
    url: '/build-trace-v:version/:derivation/:output',
    handler: async (request, reply) => {
      const { version, derivation, output } = request.params;
      if (!VERSION.test(version) || !isStoreBaseName(derivation) || !OUTPUT_FILE.test(output)) {
        return sendMalformed(reply, '/build-trace-v<number>/<base name of a derivation>/<output>.doi');
      }
      const name = `build-trace-v${version}/${derivation}/${output}`;
      return sendFile(context, request, reply, { ...answer, name });
    },
  });
}

const REALISATION_ID = /^[a-z0-9]{3,10}:[0-9A-Za-z+/=-]{1,128}![A-Za-z0-9+._?=-]{1,211}\.doi$/;
const OUTPUT_FILE = /^[A-Za-z0-9+_?=-][A-Za-z0-9+._?=-]{0,210}\.doi$/;
const VERSION = /^\d{1,4}$/;
