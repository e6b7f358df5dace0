import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { decompressBytes } from '../../base/compression/decompress-bytes.ts';
import { NixferryError } from '../../base/errors.ts';
import { findProgram } from '../../base/find-program.ts';
import { LIMITS } from '../../base/limits.ts';
import { REPOSITORY_POINTER } from '../../mirror/repositories.ts';
import { isRepositoryPlace, repositoryFile, repositoryFolder } from '../../mirror/repository-address.ts';
import { CACHE_FOREVER, CACHE_NEVER, sendFile, sendMissing, sendText } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';
import { TransferPlaces } from '../transfer-places.ts';
import { parseGitProtocol, uploadPack } from '../upload-pack.ts';

const QUESTION_TYPE = 'application/x-git-upload-pack-request';

/**
 * `/git/HOST/PATH`, with or without `.git`: repositories, to be read. Their files, as they lie in the mirror, are all that git needs to clone and to fetch; where
 * git is installed here, it answers by its own protocol, which sends less and knows shallow clones. Nothing can be pushed.
 */
export function routeGit(app: FastifyInstance, context: ServeContext): void {
  const places = new TransferPlaces(LIMITS.gitAnswersAtOnce, LIMITS.gitAnswersWaiting);
  const questions = { read: 0 };
  // Read where it is known who asks for what.
  app.addContentTypeParser(QUESTION_TYPE, (_request, body, done) => done(null, body));
  app.route({
    method: ['GET', 'HEAD'],
    url: '/git/*',
    handler: async (request, reply) => {
      const asked = parseAddress(request.url);
      if (asked === undefined || asked.file === UPLOAD_PACK || !(await isThere(context, asked.place))) {
        return sendMissing(reply);
      }
      const { place, file, service } = asked;
      if (service === 'git-receive-pack') return sendText(reply, 403, 'these repositories are only read from');
      const git = service === UPLOAD_PACK && file === 'info/refs' ? findProgram('git') : undefined;
      if (git !== undefined) return advertise({ context, places, questions, git, place }, request, reply);
      return sendFile(context, request, reply, {
        name: repositoryFile(place, file),
        contentType: file.endsWith('.pack') || file.endsWith('.idx') ? 'application/octet-stream' : 'text/plain',
        cacheControl: file.startsWith('objects/pack/') ? CACHE_FOREVER : CACHE_NEVER,
      });
    },
  });
  app.route({
    method: 'POST',
    url: '/git/*',
    handler: async (request, reply) => {
      const asked = parseAddress(request.url);
      const git = findProgram('git');
      if (asked?.file !== UPLOAD_PACK || git === undefined || !(await isThere(context, asked.place))) {
        return sendMissing(reply.header('connection', 'close'));
      }
      return answer({ context, places, questions, git, place: asked.place }, request, reply);
    },
  });
}

/** Whether this is the one kind of request that has a body to be read. */
export function isGitQuestion({ method, url = '', headers }: IncomingMessage): boolean {
  return method === 'POST' && headers['content-type'] === QUESTION_TYPE && parseAddress(url)?.file === UPLOAD_PACK;
}

const UPLOAD_PACK = 'git-upload-pack';
const ADDRESS =
  /^\/git\/([^?#]+)\/(HEAD|info\/refs|objects\/info\/packs|objects\/pack\/pack-[0-9a-f]{40}\.(?:pack|idx)|git-upload-pack)(?:\?(?:service=([a-z-]{1,40}))?)?$/;

interface AskedFile {
  readonly place: string;
  readonly file: string;
  readonly service: string | undefined;
}

function parseAddress(url: string): AskedFile | undefined {
  const [, repository = '', file = '', service] = ADDRESS.exec(url) ?? [];
  const place = repository.endsWith('.git') ? repository : `${repository}.git`;
  return file !== '' && isRepositoryPlace(place) ? { place, file, service } : undefined;
}

/** Only what an import or a collection has put there is ever given to git. */
async function isThere({ files }: ServeContext, place: string): Promise<boolean> {
  return (await files.stat(repositoryFile(place, REPOSITORY_POINTER))) !== undefined;
}

interface Answering {
  readonly context: ServeContext;
  readonly places: TransferPlaces;
  /** How many are being read now: they lie in memory. */
  readonly questions: { read: number };
  readonly git: string;
  readonly place: string;
}

function advertise(answering: Answering, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const protocol = parseGitProtocol(request.headers['git-protocol']);
  if (!answering.places.mayWait) return tooMany(reply);
  reply.header('content-type', 'application/x-git-upload-pack-advertisement').header('cache-control', CACHE_NEVER);
  if (request.method === 'HEAD') return reply.send();
  // Version 2 begins at once (gitprotocol-http).
  const start = protocol === 2 ? '' : '001e# service=git-upload-pack\n0000';
  return reply.send(streamed(answering, protocol, undefined, start));
}

async function answer(answering: Answering, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { places, questions } = answering;
  if (!places.mayWait || questions.read >= LIMITS.gitAnswersWaiting)
    return tooMany(reply.header('connection', 'close'));
  questions.read += 1;
  if (request.headers.expect !== undefined) reply.raw.writeContinue();
  const question = await readQuestion(request).finally(() => {
    questions.read -= 1;
  });
  if (typeof question === 'number') {
    return sendText(reply.header('connection', 'close'), question, 'no question of git');
  }
  const protocol = parseGitProtocol(request.headers['git-protocol']);
  reply.header('content-type', 'application/x-git-upload-pack-result').header('cache-control', CACHE_NEVER);
  return reply.send(streamed(answering, protocol, question, ''));
}

function streamed(
  { context, places, git, place }: Answering,
  protocol: number,
  question: Buffer | undefined,
  start: string,
): Readable {
  const folder = join(context.directory, repositoryFolder(place));
  async function* work(): AsyncGenerator<Buffer, void> {
    context.stopping.throwIfAborted();
    if (start !== '') yield Buffer.from(start);
    yield* uploadPack({ git, folder, protocol, question });
  }
  return Readable.from(places.hold(work), { objectMode: false });
}

/** The whole of it, unpacked, or the status that says why not. */
async function readQuestion(request: FastifyRequest): Promise<Buffer | number> {
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (!['identity', 'gzip', 'x-gzip'].includes(encoding)) return 415;
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of request.body as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > LIMITS.gitRequestBytes) return 413;
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  if (encoding === 'identity') return bytes;
  try {
    return await decompressBytes('gzip', bytes, { maxBytes: LIMITS.gitRequestBytes });
  } catch (error) {
    if (error instanceof NixferryError) return 400;
    throw error;
  }
}

function tooMany(reply: FastifyReply): FastifyReply {
  return sendText(reply.header('retry-after', '5'), 503, 'too many fetches at once');
}
