import type { OutgoingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { etagOfFile, matchesIfNoneMatch, matchesIfRange } from './etag.ts';
import { parseRange } from './range.ts';
import type { ServeContext } from './serve-context.ts';
import { streamBody } from './stream-body.ts';

/** A body under this name never changes: caches may keep it for good. */
export const CACHE_FOREVER = 'public, max-age=31536000, immutable';
/** Caches between us and the client may spare us a rush, but must not hide for long what was imported or removed. */
export const CACHE_SHORTLY = 'public, max-age=5';
/** Caches must ask again each time. */
export const CACHE_NEVER = 'no-cache';

export interface BytesAnswer {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly contentType: string;
  readonly cacheControl: string;
}

export interface FileAnswer {
  /** In the mirror; any text will do, what cannot be served is not there. */
  readonly name: string;
  readonly contentType: string;
  readonly cacheControl: string;
  /** Where the name stands for the contents; else made from size and time. */
  readonly etag?: string;
}

/** Answers with bytes at hand; 304 when the client has them. */
export function sendBytes(request: FastifyRequest, reply: FastifyReply, answer: BytesAnswer): FastifyReply {
  reply.header('etag', answer.etag).header('cache-control', answer.cacheControl);
  if (matchesIfNoneMatch(request.headers['if-none-match'], answer.etag)) return reply.code(304).send();
  return reply.header('content-type', answer.contentType).send(answer.bytes);
}

/** Answers with a file of the mirror or the part that Range asks for; 304, 404 and 416 where they are due. */
export async function sendFile(
  context: ServeContext,
  request: FastifyRequest,
  reply: FastifyReply,
  answer: FileAnswer,
): Promise<FastifyReply | undefined> {
  const { files } = context;
  const { name } = answer;
  const stored = await files.stat(name);
  if (stored === undefined) return sendMissing(reply);
  const etag = answer.etag ?? etagOfFile(stored);
  reply.header('etag', etag).header('cache-control', answer.cacheControl).header('accept-ranges', 'bytes');
  if (matchesIfNoneMatch(request.headers['if-none-match'], etag)) return reply.code(304).send();
  reply.header('content-type', answer.contentType);
  // Range is defined for GET alone (RFC 9110, 14.2): HEAD tells of the whole.
  if (request.method === 'HEAD') return reply.header('content-length', stored.sizeBytes).send();
  const range = matchesIfRange(request.headers['if-range']?.toString(), etag)
    ? parseRange(request.headers.range, stored.sizeBytes)
    : undefined;
  if (range === 'unsatisfiable') {
    reply.header('content-range', `bytes */${stored.sizeBytes}`).header('cache-control', CACHE_NEVER);
    return sendText(reply, 416, 'the file ends before the range that was asked for');
  }
  const opened = await files.open(name, range);
  if (opened === undefined) return sendMissing(reply);
  if (opened.sizeBytes !== stored.sizeBytes) {
    // Replaced between the two looks at it: what was said of the old one does not hold.
    opened.stream.destroy();
    return sendFile(context, request, reply, answer);
  }
  const lengthBytes = range === undefined ? stored.sizeBytes : range.end - range.start + 1;
  if (range !== undefined) {
    reply.code(206).header('content-range', `bytes ${range.start}-${range.end}/${stored.sizeBytes}`);
  }
  reply.header('content-length', lengthBytes);
  await sendStream(context, reply, name, opened.stream, lengthBytes);
  return undefined;
}

/** Past fastify, which would not notice when the file ends early. */
async function sendStream(
  context: ServeContext,
  reply: FastifyReply,
  name: string,
  stream: Readable,
  lengthBytes: number,
): Promise<void> {
  reply.hijack();
  reply.raw.writeHead(reply.statusCode, reply.getHeaders() as OutgoingHttpHeaders);
  try {
    await streamBody(reply.raw, stream, lengthBytes);
  } catch (error) {
    context.log.error({ name, err: error }, 'transfer broken off');
  }
}

/** 404: Nix goes on to the next substituter, or builds. */
export function sendMissing(reply: FastifyReply): FastifyReply {
  for (const name of ['etag', 'accept-ranges', 'content-type']) reply.removeHeader(name);
  reply.callNotFound();
  return reply;
}

/** 400: a name that no client asks for in earnest. */
export function sendMalformed(reply: FastifyReply, expected: string): FastifyReply {
  return sendText(reply, 400, `malformed name: expected ${expected}`);
}

export function sendText(reply: FastifyReply, status: number, text: string): FastifyReply {
  return reply.code(status).header('content-type', 'text/plain; charset=utf-8').send(`${text}\n`);
}
