import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join, normalize, sep } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

/** What the server does wrong to a request whose path (with query) matches; the first rule with turns left counts. */
export interface Misbehaviour {
  readonly path: RegExp;
  /** How many requests; default all. */
  readonly times?: number;
  readonly fault: Fault;
}

export type Fault =
  /** An error status, with a Retry-After if given. */
  | { readonly kind: 'status'; readonly status: number; readonly retryAfter?: string }
  /** The right head, then the connection breaks after so many bytes of the body. */
  | { readonly kind: 'break'; readonly afterBytes: number }
  /** Nothing more after so many bytes of the body, but the connection stays; undefined: not even a head. */
  | { readonly kind: 'stall'; readonly afterBytes?: number }
  /** The connection breaks before the head. */
  | { readonly kind: 'hang-up' }
  /** So many bytes of the body, properly ended, without any Content-Length. */
  | { readonly kind: 'truncate'; readonly afterBytes: number }
  /** Content-Length is wrong by so much. */
  | { readonly kind: 'lie'; readonly byBytes: number }
  /** One bit of one byte of the body is turned. */
  | { readonly kind: 'corrupt'; readonly atByte: number }
  /** The body comes one byte at a time, so many milliseconds apart. */
  | { readonly kind: 'trickle'; readonly everyMs: number }
  | { readonly kind: 'redirect'; readonly location: string; readonly status?: number };

export interface UnreliableServerOptions {
  /** A binary cache, or any folder; without one every path is a 404 unless `respond` knows it. */
  readonly directory?: string;
  /** Asked before the folder. */
  readonly respond?: (
    path: string,
  ) => { readonly body: Uint8Array | string; readonly headers?: Record<string, string> } | undefined;
  /** Asked of everything that no rule spoils: whether it has answered by itself (git, see git-server.ts). */
  readonly answerItself?: (
    directory: string,
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ) => Promise<boolean>;
  /** Answer 401 without this. */
  readonly basicAuth?: { readonly user: string; readonly password: string };
  /** Always answer 200 with everything. */
  readonly ignoreRange?: boolean;
  /** Before every answer. */
  readonly latencyMs?: number;
  readonly tls?: { readonly key: string; readonly cert: string };
}

export interface RecordedRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
}

export interface UnreliableServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly requests: readonly RecordedRequest[];
  /** Connections ever accepted. */
  readonly connectionCount: number;
  /** Most requests that were being answered at one time. */
  readonly mostAtOnce: number;
  /** Requests so far whose path matches. */
  count(path: RegExp): number;
  misbehave(...rules: readonly Misbehaviour[]): void;
  /** Forgets all rules. */
  behave(): void;
  /** Breaks all connections and refuses new ones. */
  goDead(): Promise<void>;
  /** Listens again, at the same port. */
  revive(): Promise<void>;
}

/** A web server on loopback that serves a folder, with Range and ETag, and fails on demand. */
export async function startUnreliableServer(options: UnreliableServerOptions = {}): Promise<UnreliableServer> {
  const rules: { path: RegExp; left: number; fault: Fault }[] = [];
  const requests: RecordedRequest[] = [];
  const sockets = new Set<Socket>();
  let connectionCount = 0;
  let underWay = 0;
  let mostAtOnce = 0;
  const takeFault = (path: string): Fault | undefined => {
    const rule = rules.find((candidate) => candidate.left > 0 && candidate.path.test(path));
    if (rule !== undefined) rule.left -= 1;
    return rule?.fault;
  };
  const onRequest = (request: http.IncomingMessage, response: http.ServerResponse): void => {
    const path = request.url ?? '/';
    requests.push({ method: request.method ?? '', path, headers: request.headers });
    underWay += 1;
    mostAtOnce = Math.max(mostAtOnce, underWay);
    response.once('close', () => {
      underWay -= 1;
    });
    // Clients break connections, too; that is no failure of this server.
    answer(request, response, options, takeFault(path)).catch(() => response.destroy());
  };
  const server = options.tls === undefined ? http.createServer(onRequest) : https.createServer(options.tls, onRequest);
  server.on(options.tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    connectionCount += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  await listen(server, 0);
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return {
    url: `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    requests,
    get connectionCount() {
      return connectionCount;
    },
    get mostAtOnce() {
      return mostAtOnce;
    },
    count: (path) => requests.filter((request) => path.test(request.path)).length,
    misbehave: (...added) => {
      for (const { path, times = Number.POSITIVE_INFINITY, fault } of added) rules.push({ path, left: times, fault });
    },
    behave: () => {
      rules.length = 0;
    },
    goDead: close,
    revive: () => listen(server, port),
    async [Symbol.asyncDispose]() {
      if (server.listening) await close();
    },
  };
}

function listen(server: http.Server | https.Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function answer(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  options: UnreliableServerOptions,
  fault: Fault | undefined,
): Promise<void> {
  if (options.latencyMs !== undefined) await sleep(options.latencyMs);
  if (!isAllowed(request, options)) {
    response.writeHead(401, { 'www-authenticate': 'Basic realm="cache"' }).end();
    return;
  }
  switch (fault?.kind) {
    case 'status':
      response
        .writeHead(fault.status, fault.retryAfter === undefined ? {} : { 'retry-after': fault.retryAfter })
        .end('sorry\n');
      return;
    case 'hang-up':
      request.socket.destroy();
      return;
    case 'redirect':
      response.writeHead(fault.status ?? 302, { location: fault.location }).end();
      return;
    case 'stall':
      if (fault.afterBytes === undefined) return;
  }
  const { answerItself, directory } = options;
  if (fault === undefined && directory !== undefined && (await answerItself?.(directory, request, response)) === true)
    return;
  await sendFile(request, response, options, fault);
}

function isAllowed(request: http.IncomingMessage, { basicAuth }: UnreliableServerOptions): boolean {
  if (basicAuth === undefined) return true;
  const pair = Buffer.from(`${basicAuth.user}:${basicAuth.password}`).toString('base64');
  return request.headers.authorization === `Basic ${pair}`;
}

interface Content {
  readonly sizeBytes: number;
  readonly headers: Record<string, string>;
  open(start: number, end: number): Readable;
}

async function sendFile(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  options: UnreliableServerOptions,
  fault: Fault | undefined,
): Promise<void> {
  const content = await findContent(request.url ?? '/', options);
  if (content === undefined) {
    response.writeHead(404).end('not found\n');
    return;
  }
  const { sizeBytes } = content;
  const range = options.ignoreRange === true ? undefined : parseRange(request.headers.range);
  if (range !== undefined && range.start >= sizeBytes) {
    response.writeHead(416, { 'content-range': `bytes */${sizeBytes}` }).end();
    return;
  }
  const start = range?.start ?? 0;
  const end = Math.min(range?.end ?? Number.POSITIVE_INFINITY, sizeBytes - 1);
  const lengthBytes = end - start + 1;
  const headers: Record<string, string> = { ...content.headers };
  if (options.ignoreRange !== true) headers['accept-ranges'] = 'bytes';
  if (range !== undefined) headers['content-range'] = `bytes ${start}-${end}/${sizeBytes}`;
  if (fault?.kind !== 'truncate') {
    headers['content-length'] = String(lengthBytes + (fault?.kind === 'lie' ? fault.byBytes : 0));
  }
  response.strictContentLength = false;
  response.writeHead(range === undefined ? 200 : 206, headers);
  if (request.method === 'HEAD' || lengthBytes === 0) {
    response.end();
    return;
  }
  await sendBody(content.open(start, end), response, fault);
}

async function sendBody(body: Readable, response: http.ServerResponse, fault: Fault | undefined): Promise<void> {
  let sentBytes = 0;
  response.once('close', () => body.destroy());
  for await (const piece of body as AsyncIterable<Buffer>) {
    let chunk = piece;
    if (fault?.kind === 'corrupt') chunk = turnBit(chunk, fault.atByte - sentBytes);
    if (fault?.kind === 'trickle') {
      for (const byte of chunk) {
        if (response.destroyed) return;
        response.write(Buffer.of(byte));
        await sleep(fault.everyMs);
      }
      continue;
    }
    const limit = fault !== undefined && 'afterBytes' in fault ? fault.afterBytes : undefined;
    if (limit !== undefined && sentBytes + chunk.length >= limit) {
      await write(response, chunk.subarray(0, limit - sentBytes));
      if (fault?.kind === 'break') response.destroy();
      if (fault?.kind === 'truncate') response.end();
      return;
    }
    sentBytes += chunk.length;
    await write(response, chunk);
  }
  // A head that promises more than there is: only a broken connection tells the client.
  if (fault?.kind === 'lie' && fault.byBytes > 0) response.destroy();
  else response.end();
}

/** Resolves once the bytes have left, so that what follows does not overtake them. */
function write(response: http.ServerResponse, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    response.write(chunk, (error) => (error instanceof Error ? reject(error) : resolve()));
  });
}

function turnBit(chunk: Buffer, position: number): Buffer {
  if (position < 0 || position >= chunk.length) return chunk;
  const turned = Buffer.from(chunk);
  turned[position] = (turned[position] ?? 0) ^ 1;
  return turned;
}

async function findContent(url: string, options: UnreliableServerOptions): Promise<Content | undefined> {
  const made = options.respond?.(url);
  if (made !== undefined) {
    const bytes = Buffer.from(made.body);
    const open = (start: number, end: number): Readable => Readable.from([bytes.subarray(start, end + 1)]);
    return { sizeBytes: bytes.length, headers: made.headers ?? {}, open };
  }
  if (options.directory === undefined) return undefined;
  const file = normalize(join(options.directory, decodeURIComponent(url.replace(/[?#].*$/s, ''))));
  if (!file.startsWith(options.directory + sep)) return undefined;
  const status = await stat(file).catch(() => undefined);
  if (status?.isFile() !== true) return undefined;
  const headers = { etag: `"${status.size}-${status.mtimeMs}"`, 'content-type': 'application/octet-stream' };
  return { sizeBytes: status.size, headers, open: (start, end) => createReadStream(file, { start, end }) };
}

function parseRange(header: string | undefined): { start: number; end: number | undefined } | undefined {
  const match = /^bytes=(\d+)-(\d*)$/.exec(header ?? '');
  if (match === null) return undefined;
  return { start: Number(match[1]), end: match[2] === '' ? undefined : Number(match[2]) };
}
