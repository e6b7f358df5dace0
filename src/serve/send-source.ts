import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { asCompression } from '../base/compression/compression.ts';
import { LIMITS } from '../base/limits.ts';
import type { ServedFlake } from '../mirror/served-flakes.ts';
import { formatHash, type Hash, type HashPart, type NarInfo, parseNarInfo } from '../nix/index.ts';
import { matchesIfNoneMatch } from './etag.ts';
import { narInfoOfAnswer } from './express/express-answer.ts';
import { findOnlyFolder } from './only-folder.ts';
import { readSource, type TarballOrder } from './pack-source.ts';
import { publicUrlFor } from './public-url.ts';
import { CACHE_FOREVER, CACHE_SHORTLY, sendMissing, sendOpenedFile, sendText } from './send.ts';
import type { ServeContext } from './serve-context.ts';
import type { PackedTarball, SourceTarballs } from './source-tarballs.ts';

export const TARBALL_SUFFIX = '.tar.gz';

/** Sends the newest revision of what has a name, and tells Nix by `Link` (lockable HTTP tarballs) where that very revision stays. */
export async function sendNewest(
  context: ServeContext,
  request: FastifyRequest,
  reply: FastifyReply,
  flake: ServedFlake,
): Promise<FastifyReply | undefined> {
  const info = await findTree(context, flake.hashPart);
  if (info === undefined || (!flake.isChannel && !isSource(info))) return sendMissing(reply);
  const only = flake.isChannel ? await onlyFolderOf(context, info) : undefined;
  if (only === 'no-folder') return sendMissing(reply);
  const narHash = only?.narHash ?? info.narHash;
  const base = publicUrlFor(request, context.publicUrl);
  if (base !== undefined && (only !== undefined || isSource(info))) {
    reply.header('link', `<${immutableUrl(base, flake, narHash, only?.name)}>; rel="immutable"`);
  }
  const order = { info, lastModified: flake.lastModified, folder: only?.name };
  return sendTarball(context, request, reply, order, CACHE_SHORTLY);
}

/** Sends one revision for good: a source, or what is in the only folder of a tree, wherever that comes from. */
export async function sendRevision(
  context: ServeContext,
  request: FastifyRequest,
  reply: FastifyReply,
  { hashPart, lastModified, folder }: { hashPart: HashPart; lastModified: number; folder: string | undefined },
): Promise<FastifyReply | undefined> {
  const info = await findTree(context, hashPart);
  if (info === undefined) return sendMissing(reply);
  const only = folder === undefined ? undefined : await onlyFolderOf(context, info);
  const isThere = folder === undefined ? isSource(info) : typeof only === 'object' && only.name === folder;
  if (!isThere) return sendMissing(reply);
  return sendTarball(context, request, reply, { info, lastModified, folder }, CACHE_FOREVER);
}

async function sendTarball(
  context: ServeContext,
  request: FastifyRequest,
  reply: FastifyReply,
  order: TarballOrder,
  cacheControl: string,
): Promise<FastifyReply | undefined> {
  const { tarballs } = context;
  const etag = tarballs.etagOf(order);
  const answer = { name: order.info.url, contentType: 'application/gzip', cacheControl, etag };
  const isKnown = matchesIfNoneMatch(request.headers['if-none-match'], etag);
  // Nobody packs 50,000 files to say how long the tarball would be.
  const packed = isKnown || request.method === 'HEAD' ? await findPacked(tarballs, order) : await tarballs.get(order);
  if (packed?.kind === 'file') return sendOpenedFile(context, request, reply, answer, packed.file);
  if (packed?.kind === 'busy') {
    return sendText(reply.removeHeader('link').header('retry-after', '5'), 503, 'too many sources at once');
  }
  reply.header('etag', etag).header('cache-control', cacheControl);
  if (isKnown) return reply.code(304).send();
  reply.header('content-type', answer.contentType);
  return reply.send(packed === undefined ? undefined : Readable.from(packed.bytes, { objectMode: false }));
}

async function findPacked(tarballs: SourceTarballs, order: TarballOrder): Promise<PackedTarball | undefined> {
  const file = await tarballs.find(order);
  return file === undefined ? undefined : { kind: 'file', file };
}

/** A folder that refers to nothing else. */
async function findTree(context: ServeContext, hashPart: HashPart): Promise<NarInfo | undefined> {
  const served = await context.narInfos.find(hashPart);
  if (served === undefined) return undefined;
  const info = parseNarInfo(narInfoOfAnswer(served.answer), context.storeDir);
  return info.references.length === 0 && asCompression(info.compression) !== undefined ? info : undefined;
}

/** Named by its contents, and by nothing else. */
function isSource({ contentAddress }: NarInfo): boolean {
  return contentAddress?.startsWith('fixed:r:sha256:') === true;
}

function immutableUrl(
  base: string,
  { hashPart, lastModified, rev, revCount }: ServedFlake,
  narHash: Hash,
  folder: string | undefined,
): string {
  const query = new URLSearchParams({ narHash: formatHash(narHash, 'sri') });
  if (rev !== undefined) query.set('rev', rev);
  if (rev !== undefined && revCount !== undefined) query.set('revCount', String(revCount));
  const file = folder === undefined ? hashPart : `${hashPart}/${folder}`;
  return `${base}/sources/${lastModified}/${file}${TARBALL_SUFFIX}?${query.toString()}`;
}

/** Looked for once in each process: a tree never changes. */
function onlyFolderOf({ files, onlyFolders }: ServeContext, info: NarInfo): ReturnType<typeof findOnlyFolder> {
  const known = onlyFolders.get(info.storePath);
  if (known !== undefined) return known;
  if (onlyFolders.size >= LIMITS.onlyFoldersKnown) onlyFolders.clear();
  const found = findOnlyFolder(() => readSource(files, info), info.narSizeBytes);
  onlyFolders.set(info.storePath, found);
  found.catch(() => onlyFolders.delete(info.storePath));
  return found;
}
