import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type HookHandlerDoneFunction,
} from 'fastify';
import { systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { routeCacheInfo } from './endpoints/cache-info.ts';
import { routeChannels } from './endpoints/channels.ts';
import { routeClientFiles } from './endpoints/client-files.ts';
import { routeDebugInfo } from './endpoints/debuginfo.ts';
import { routeEvaluationInputs } from './endpoints/evaluation-inputs.ts';
import { routeFlakes } from './endpoints/flakes.ts';
import { routeFrontPage } from './endpoints/front-page.ts';
import { isGitQuestion, routeGit } from './endpoints/git.ts';
import { routeHashed } from './endpoints/hashed.ts';
import { routeHealth } from './endpoints/health.ts';
import { routeListing } from './endpoints/listing.ts';
import { routeLocalNar } from './endpoints/local-nar.ts';
import { routeLog } from './endpoints/log.ts';
import { routeNar } from './endpoints/nar.ts';
import { routeNarInfo } from './endpoints/narinfo.ts';
import { routeRealisation } from './endpoints/realisation.ts';
import { routeStatus } from './endpoints/status.ts';
import { CACHE_NEVER, sendText } from './send.ts';
import type { ServeContext } from './serve-context.ts';

/** The HTTP side of one process: every route, and what holds for all of them. It does not listen yet. */
export function buildApp(context: ServeContext): FastifyInstance {
  const app = fastify({
    // Its own log would make an object for every request; ours is for what is not a hit.
    logger: false,
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    requestTimeout: LIMITS.requestTimeoutMs,
    connectionTimeout: LIMITS.clientStallMs,
    keepAliveTimeout: LIMITS.keepAliveMs,
    bodyLimit: 1024,
    http: { maxHeaderSize: LIMITS.requestHeaderBytes },
    routerOptions: { maxParamLength: LIMITS.requestUrlBytes },
    rewriteUrl: ({ url }) => originForm(url ?? '/'),
    frameworkErrors: (error, _request, reply) => {
      sendText(reply as FastifyReply, error.statusCode === 414 ? 414 : 400, 'malformed address');
    },
  });
  app.addHook('onRequest', refuseEarly);
  app.setNotFoundHandler((request, reply) => {
    context.log.info({ method: request.method, path: request.raw.url, client: request.ip }, 'not here');
    context.misses.note(request.raw.url ?? '');
    return sendText(reply.header('cache-control', CACHE_NEVER), 404, 'not here');
  });
  app.setErrorHandler<FastifyError>((error, request, reply) => answerError(context, error, request, reply));
  routeCacheInfo(app, context);
  routeNarInfo(app, context);
  routeNar(app, context);
  routeLocalNar(app, context);
  routeListing(app, context);
  routeLog(app, context);
  routeDebugInfo(app, context);
  routeRealisation(app, context);
  routeHashed(app, context);
  routeEvaluationInputs(app, context);
  routeChannels(app, context);
  routeFlakes(app, context);
  routeGit(app, context);
  routeHealth(app, context);
  routeStatus(app, context);
  routeClientFiles(app, context);
  routeFrontPage(app, context);
  app.addHook('onClose', async () => {
    context.localStore?.[Symbol.dispose]();
    context.proxy?.close();
    await context.misses[Symbol.asyncDispose]();
  });
  refuseTunnels(app);
  return app;
}

/** What a client sends to a proxy, `GET http://host/path`, every server must understand too (RFC 9112, 3.2.2). */
function originForm(url: string): string {
  if (url.startsWith('/')) return url;
  const path = /^https?:\/\/[^/?#]*(\/.*)?$/i.exec(url);
  return path === null ? url : (path[1] ?? '/');
}

/** With a callback, not a promise: it runs for every request. */
function refuseEarly(request: FastifyRequest, reply: FastifyReply, next: HookHandlerDoneFunction): void {
  if (request.method !== 'GET' && request.method !== 'HEAD' && !isGitQuestion(request.raw)) {
    // The connection ends with the answer: whatever body is on its way is not read.
    reply.header('allow', 'GET, HEAD').header('connection', 'close');
    sendText(reply, 405, 'this cache is only read from');
  } else if ((request.raw.url ?? '').length > LIMITS.requestUrlBytes) {
    sendText(reply, 414, 'address too long');
  } else {
    next();
  }
}

function answerError(
  context: ServeContext,
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const status = error.statusCode;
  if (status !== undefined && status >= 400 && status < 500) return sendText(reply, status, error.message);
  if (context.stopping.aborted) return sendText(reply, 503, 'the server is stopping');
  context.log.error({ path: request.raw.url, err: error }, 'request failed');
  if (OUT_OF_FILES.has(systemErrorCode(error) ?? '')) {
    return sendText(reply.header('retry-after', '2'), 503, 'too many transfers at once');
  }
  return sendText(reply, 500, 'the mirror could not be read');
}

const OUT_OF_FILES: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM']);

function refuseTunnels(app: FastifyInstance): void {
  // Answering at once spares the client the upload: Nix announces each with Expect: 100-continue.
  app.server.on('checkContinue', (request, response) => void app.server.emit('request', request, response));
  app.server.on('connect', (_request: IncomingMessage, socket: Socket) => {
    socket.on('error', () => socket.destroy());
    socket.end('HTTP/1.1 405 Method Not Allowed\r\nallow: GET, HEAD\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
  });
}
