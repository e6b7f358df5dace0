import type { FastifyInstance } from 'fastify';
import { makeFrontPage } from '../front-page.ts';
import { FRONT_PAGE_POLICY, frontPageHtml } from '../front-page-html.ts';
import { frontPageText } from '../front-page-text.ts';
import { CACHE_NEVER } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/** `/`: for people: what this is, what is here, and what to paste on a client. HTML for browsers, the same as text for curl. */
export function routeFrontPage(app: FastifyInstance, context: ServeContext): void {
  app.route({
    method: ['GET', 'HEAD'],
    url: '/',
    handler: async (request, reply) => {
      const page = await makeFrontPage(request, context);
      const html = request.headers.accept?.includes('text/html') === true;
      return reply
        .header('content-type', html ? 'text/html; charset=utf-8' : 'text/plain; charset=utf-8')
        .header('content-security-policy', FRONT_PAGE_POLICY)
        .header('x-content-type-options', 'nosniff')
        .header('referrer-policy', 'no-referrer')
        .header('vary', 'accept, host')
        .header('cache-control', CACHE_NEVER)
        .send(html ? frontPageHtml(page) : frontPageText(page));
    },
  });
}
