import type { FastifyInstance } from 'fastify';
import {
  EVALUATION_INPUTS_ADDRESS,
  EVALUATION_INPUTS_TEXT_ADDRESS,
  type EvaluationInputsList,
} from '../../mirror/evaluation-inputs.ts';
import { etagOfBytes } from '../etag.ts';
import { CACHE_SHORTLY, sendBytes } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/**
 * `/nixferry/evaluation-inputs.json`: what evaluating each root reads, for `nixferry prime`. As `.txt` a store path a line, for clients that have nothing
 * but Nix: `nix-store --realise $(curl …)`.
 */
export function routeEvaluationInputs(app: FastifyInstance, context: ServeContext): void {
  const answers: readonly [address: string, contentType: string, format: (list: EvaluationInputsList) => string][] = [
    [EVALUATION_INPUTS_ADDRESS, 'application/json', (list) => `${JSON.stringify(list)}\n`],
    [EVALUATION_INPUTS_TEXT_ADDRESS, 'text/plain; charset=utf-8', formatLines],
  ];
  for (const [address, contentType, format] of answers) {
    app.route({
      method: ['GET', 'HEAD'],
      url: `/${address}`,
      handler: async (request, reply) => {
        const bytes = Buffer.from(format(await context.roots.read()));
        return sendBytes(request, reply, { bytes, etag: etagOfBytes(bytes), contentType, cacheControl: CACHE_SHORTLY });
      },
    });
  }
}

function formatLines({ storeDir, roots }: EvaluationInputsList): string {
  const paths = new Set(roots.flatMap(({ inputs }) => inputs.map(({ path }) => path)));
  return [...paths]
    .toSorted()
    .map((path) => `${storeDir}/${path}\n`)
    .join('');
}
