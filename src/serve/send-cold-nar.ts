import type { OutgoingHttpHeaders } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { GrowingNar } from '../proxy/growing-nar.ts';
import type { ProxyClient } from '../proxy/proxy-client.ts';
import { matchesIfNoneMatch, matchesIfRange } from './etag.ts';
import { parseRange } from './range.ts';
import { CACHE_NEVER, type FileAnswer, sendFile, sendMissing, sendText } from './send.ts';
import { begun, openGrowingFile, sendGrowingNar } from './send-growing-nar.ts';
import type { ServeContext } from './serve-context.ts';

/** Answers with a NAR that only an upstream has, or that is on its way from there; whatever goes wrong before its first byte is a 404. */
export async function sendColdNar(
  context: ServeContext,
  proxy: ProxyClient,
  request: FastifyRequest,
  reply: FastifyReply,
  answer: FileAnswer,
): Promise<FastifyReply | undefined> {
  if (answer.etag !== undefined && matchesIfNoneMatch(request.headers['if-none-match'], answer.etag)) {
    return reply.header('etag', answer.etag).header('cache-control', answer.cacheControl).code(304).send();
  }
  return request.method === 'HEAD'
    ? sendHead(context, proxy, request, reply, answer)
    : sendBody(context, proxy, request, reply, answer);
}

async function sendHead(
  context: ServeContext,
  proxy: ProxyClient,
  request: FastifyRequest,
  reply: FastifyReply,
  answer: FileAnswer,
): Promise<FastifyReply | undefined> {
  const head = await proxy.narHead(answer.name);
  if (head === undefined) return sendMissing(reply);
  if ('name' in head) return sendFile(context, request, reply, { ...answer, name: head.name });
  setHead(reply, answer, head.sizeBytes);
  if (head.sizeBytes !== undefined) reply.header('content-length', head.sizeBytes);
  return reply.send();
}

async function sendBody(
  context: ServeContext,
  proxy: ProxyClient,
  request: FastifyRequest,
  reply: FastifyReply,
  answer: FileAnswer,
): Promise<FastifyReply | undefined> {
  const nar = proxy.nar(answer.name);
  const leave = (): void => nar.close();
  reply.raw.once('close', leave);
  const { range } = request.headers;
  let progress = await begun(nar);
  // Which bytes a range means is known only once the size is.
  if (range !== undefined && progress.sizeBytes === undefined) progress = await decided(nar);
  if (progress.state === 'here' && progress.file !== undefined) {
    return sendFile(context, request, reply, { ...answer, name: progress.file });
  }
  if (progress.state === 'failed' || progress.state === 'absent') return sendMissing(reply);
  const file = await openGrowingFile(nar);
  if (file === undefined) return sendFile(context, request, reply, answer);
  const { sizeBytes } = progress;
  setHead(reply, answer, sizeBytes);
  const counts = answer.etag === undefined || matchesIfRange(request.headers['if-range']?.toString(), answer.etag);
  const wanted = counts && sizeBytes !== undefined ? parseRange(range, sizeBytes) : undefined;
  if (wanted === 'unsatisfiable') {
    nar.close();
    file.close();
    reply.header('content-range', `bytes */${sizeBytes}`).header('cache-control', CACHE_NEVER);
    return sendText(reply, 416, 'the file ends before the range that was asked for');
  }
  const part = { file, start: wanted?.start ?? 0, end: wanted === undefined ? sizeBytes : wanted.end + 1 };
  if (wanted !== undefined) reply.code(206).header('content-range', `bytes ${wanted.start}-${wanted.end}/${sizeBytes}`);
  if (part.end !== undefined) reply.header('content-length', part.end - part.start);
  // Past fastify, which would not know when to break off.
  reply.hijack();
  reply.raw.writeHead(reply.statusCode, reply.getHeaders() as OutgoingHttpHeaders);
  const outcome = await sendGrowingNar(reply.raw, nar, part, context.buffers);
  if (outcome === 'failed') context.log.error({ name: answer.name }, 'transfer broken off: it could not be verified');
  return undefined;
}

function setHead(reply: FastifyReply, answer: FileAnswer, sizeBytes: number | undefined): void {
  reply.header('content-type', answer.contentType).header('cache-control', answer.cacheControl);
  if (answer.etag !== undefined) reply.header('etag', answer.etag);
  // Where the end is not known, a client could not go on from the middle.
  if (sizeBytes !== undefined) reply.header('accept-ranges', 'bytes');
}

async function decided(nar: GrowingNar) {
  let progress = nar.progress;
  while (progress.state === 'growing') progress = await nar.changed(progress);
  return progress;
}
