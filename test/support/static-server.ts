// A plain web server for one folder, such as the internet is to Nixferry: no more than files, ranges and 404.

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { pipeline } from 'node:stream';

export interface StaticServer extends AsyncDisposable {
  /** Without a slash at the end. */
  readonly url: string;
  readonly port: number;
  /** `GET /name` of every request so far. */
  readonly requests: readonly string[];
}

/** Is asked first; resolves to false, with nothing answered, for what is to be served as a file. */
export type Answer = (directory: string, request: IncomingMessage, response: ServerResponse) => Promise<boolean>;

/** Serves `directory` on 127.0.0.1, at an ephemeral port unless one is named, until disposed of. */
export async function serveDirectory(directory: string, answer?: Answer, atPort = 0): Promise<StaticServer> {
  const requests: string[] = [];
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    requests.push(`${request.method} ${pathname}`);
    if ((await answer?.(directory, request, response)) === true) return;
    const named = path.join(directory, path.posix.normalize(decodeURIComponent(pathname)));
    const isFolder = (await stat(named).catch(() => undefined))?.isDirectory() === true;
    const file = isFolder ? path.join(named, 'index.html') : named;
    const info = await stat(file).catch(() => undefined);
    if (info === undefined || !info.isFile()) {
      response.writeHead(404).end();
      return;
    }
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const start = range?.[1] === undefined ? 0 : Number(range[1]);
    if (start > 0 && start >= info.size) {
      response.writeHead(416, { 'content-range': `bytes */${info.size}` }).end();
      return;
    }
    response.writeHead(range === null ? 200 : 206, {
      'content-length': info.size - start,
      'accept-ranges': 'bytes',
      ...(range === null ? {} : { 'content-range': `bytes ${start}-${info.size - 1}/${info.size}` }),
    });
    if (request.method === 'HEAD') response.end();
    else pipeline(createReadStream(file, { start }), response, () => {});
  });
  await new Promise<void>((resolve) => server.listen(atPort, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    requests,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
