import type { FastifyInstance, FastifyReply } from 'fastify';
import { channelFileName, channelPointerName, parseChannelPointer } from '../../mirror/channels.ts';
import { CHANNEL_NAME } from '../../mirror/roots.ts';
import { CACHE_FOREVER, CACHE_NEVER, sendFile, sendMalformed, sendMissing, sendText } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/**
 * `/channels/NAME` leads to `/channels/NAME/RELEASE`, as channels.nixos.org does, and `/channels/NAME/FILE` to the file of that release: whoever has followed it
 * once reads all files of one release, even when the channel moves on meanwhile. Releases of before stay where they were.
 */
export function routeChannels(app: FastifyInstance, context: ServeContext): void {
  app.route<{ Params: { name: string } }>({
    method: ['GET', 'HEAD'],
    url: '/channels/:name',
    handler: async ({ params: { name } }, reply) => lead(context, reply, name, (release) => `${name}/${release}`),
  });
  app.route<{ Params: { name: string } }>({
    method: ['GET', 'HEAD'],
    url: '/channels/:name/',
    handler: async ({ params: { name } }, reply) => lead(context, reply, name, (release) => release),
  });
  app.route<{ Params: { name: string; file: string } }>({
    method: ['GET', 'HEAD'],
    url: '/channels/:name/:file',
    handler: async ({ params: { name, file } }, reply) => {
      if (!CHANNEL_NAME.test(name) || !CHANNEL_NAME.test(file)) return malformed(reply);
      // nix-channel asks for the folder itself, and wants no more than a 200.
      if (await isRelease(context, name, file))
        return sendText(reply, 200, `the release ${file} of the channel ${name}`);
      return lead(context, reply, name, (release) => `${release}/${file}`, file);
    },
  });
  app.route<{ Params: { name: string; release: string; file: string } }>({
    method: ['GET', 'HEAD'],
    url: '/channels/:name/:release/:file',
    handler: async (request, reply) => {
      const { name, release, file } = request.params;
      if (![name, release, file].every((part) => CHANNEL_NAME.test(part))) return malformed(reply);
      return sendFile(context, request, reply, {
        name: channelFileName(name, release, file),
        contentType: contentTypeOf(file),
        cacheControl: CACHE_FOREVER,
      });
    },
  });
}

function malformed(reply: FastifyReply): FastifyReply {
  return sendMalformed(reply, '/channels/<channel>/<release or file>');
}

/** Redirects to where the channel leads now. The address is relative: only the client knows below which one it sees us. */
async function lead(
  context: ServeContext,
  reply: FastifyReply,
  name: string,
  location: (release: string) => string,
  file?: string,
): Promise<FastifyReply> {
  if (!CHANNEL_NAME.test(name)) return malformed(reply);
  const bytes = await context.files.read(channelPointerName(name));
  const pointer = bytes === undefined ? undefined : parseChannelPointer(bytes);
  if (pointer === undefined) return sendMissing(reply);
  const { release } = pointer;
  if (file !== undefined && (await context.files.stat(channelFileName(name, release, file))) === undefined) {
    return sendMissing(reply);
  }
  reply.header('location', location(release)).header('cache-control', CACHE_NEVER);
  return sendText(reply, 302, `the release ${release} counts now`);
}

async function isRelease({ files }: ServeContext, name: string, release: string): Promise<boolean> {
  return (await files.stat(channelFileName(name, release, 'nixexprs.tar.xz'))) !== undefined;
}

function contentTypeOf(file: string): string {
  if (file.endsWith('.xz')) return 'application/x-xz';
  return file.includes('.') ? 'application/octet-stream' : 'text/plain; charset=utf-8';
}
