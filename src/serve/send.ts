import type { OutgoingHttpHeaders } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { StoredFile } from '../mirror/storage.ts';
import { etagOfBytes, etagOfFile, matchesIfNoneMatch, matchesIfRange } from './etag.ts';
import type { OpenedFile } from './opened-file.ts';
import { parseRange } from './range.ts';
import { type FilePart, sendFileBody } from './send-file-body.ts';
import { formatSendfileValue, type SendfileHeader } from './sendfile-header.ts';
import type { ServeContext } from './serve-context.ts';

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
  /** Small, and worth asking upstreams for where the mirror does not have it. */
  readonly mayBeUpstream?: boolean;
}

/** Answers with bytes at hand; 304 when the client has them. */
export function sendBytes(request: FastifyRequest, reply: FastifyReply, answer: BytesAnswer): FastifyReply {
  reply.header('etag', answer.etag).header('cache-control', answer.cacheControl);
  if (matchesIfNoneMatch(request.headers['if-none-match'], answer.etag)) return reply.code(304).send();
  return reply.header('content-type', answer.contentType).send(answer.bytes);
}

/** Answers with a small file that an upstream has, if this is one that may be asked of upstreams. */
export async function sendOfUpstream(
  context: ServeContext,
  request: FastifyRequest,
  reply: FastifyReply,
  { name, contentType, cacheControl, mayBeUpstream }: FileAnswer,
): Promise<FastifyReply> {
  const bytes = mayBeUpstream === true ? await context.proxy?.file(name) : undefined;
  if (bytes === undefined) return sendMissing(reply);
  return sendBytes(request, reply, { bytes, etag: etagOfBytes(bytes), contentType, cacheControl });
}

/** Answers with a file of the mirror or the part that Range asks for; 304, 404 and 416 where they are due. */
export async function sendFile(
  context: ServeContext,
  request: FastifyRequest,
  reply: FastifyReply,
  answer: FileAnswer,
): Promise<FastifyReply | undefined> {
  if (context.sendfileHeader !== undefined) {
    if ((await context.files.stat(answer.name)) === undefined) {
      return sendOfUpstream(context, request, reply, answer);
    }
    return sendByProxy(context, context.sendfileHeader, reply, answer);
  }
  const file = await context.files.open(answer.name);
  return file === undefined
    ? sendOfUpstream(context, request, reply, answer)
    : sendOpenedFile(context, request, reply, answer, file);
}

/** The same for a file that is open already, which is closed then; `name` is for the log. */
export async function sendOpenedFile(
  context: ServeContext,
  request: FastifyRequest,
  reply: FastifyReply,
  answer: FileAnswer,
  file: OpenedFile,
): Promise<FastifyReply | undefined> {
  const part = setHead(request, reply, answer, file);
  if (part === undefined) {
    file.close();
    return reply.code(304).send();
  }
  if (part === 'unsatisfiable') {
    file.close();
    return sendText(reply, 416, 'the file ends before the range that was asked for');
  }
  // Range is defined for GET alone (RFC 9110, 14.2), so HEAD has told of the whole by now.
  if (request.method === 'HEAD') {
    file.close();
    return reply.send();
  }
  await sendBody(context, reply, answer.name, { ...part, file });
  return undefined;
}

/** Says in status and header fields what will be sent; undefined when the client has it already. */
function setHead(
  request: FastifyRequest,
  reply: FastifyReply,
  answer: FileAnswer,
  file: StoredFile,
): Pick<FilePart, 'startByte' | 'lengthBytes'> | 'unsatisfiable' | undefined {
  const { sizeBytes } = file;
  const etag = answer.etag ?? etagOfFile(file);
  reply.header('etag', etag).header('cache-control', answer.cacheControl).header('accept-ranges', 'bytes');
  if (matchesIfNoneMatch(request.headers['if-none-match'], etag)) return undefined;
  reply.header('content-type', answer.contentType);
  const counts = request.method === 'GET' && matchesIfRange(request.headers['if-range']?.toString(), etag);
  const range = counts ? parseRange(request.headers.range, sizeBytes) : undefined;
  if (range === 'unsatisfiable') {
    reply.header('content-range', `bytes */${sizeBytes}`).header('cache-control', CACHE_NEVER);
    return range;
  }
  const startByte = range?.start ?? 0;
  const lengthBytes = range === undefined ? sizeBytes : range.end - range.start + 1;
  if (range !== undefined) reply.code(206).header('content-range', `bytes ${range.start}-${range.end}/${sizeBytes}`);
  reply.header('content-length', lengthBytes);
  return { startByte, lengthBytes };
}

/** Past fastify, which would not notice when the file ends early. */
async function sendBody(context: ServeContext, reply: FastifyReply, name: string, part: FilePart): Promise<void> {
  reply.hijack();
  reply.raw.writeHead(reply.statusCode, reply.getHeaders() as OutgoingHttpHeaders);
  try {
    await sendFileBody(reply.raw, part, context.buffers);
  } catch (error) {
    context.log.error({ name, err: error }, 'transfer broken off');
  }
}

/** Leaves body, ranges and conditions to the web server in front of us, and tells it which file. */
async function sendByProxy(
  context: ServeContext,
  header: SendfileHeader,
  reply: FastifyReply,
  { name, contentType, cacheControl }: FileAnswer,
): Promise<FastifyReply> {
  return reply
    .header(header, formatSendfileValue(header, context.directory, name))
    .header('content-type', contentType)
    .header('cache-control', cacheControl)
    .send();
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
