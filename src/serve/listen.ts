import { once } from 'node:events';
import type { Server } from 'node:http';
import { createServer, type ListenOptions, type Server as SocketServer } from 'node:net';
import { systemErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { ListenAddress } from './listen-address.ts';

/** Where a server listens: on an address, or on sockets that were open already when this process began (their descriptors). */
export type ListenTarget = { readonly address: ListenAddress } | { readonly sockets: readonly number[] };

export interface Listening {
  /** Undefined for a socket that is no TCP socket. */
  readonly bound: { readonly host: string; readonly port: number } | undefined;
  /** Takes no connection any more on what `server` itself does not listen on. */
  close(): void;
}

/** Has the server take connections. What comes by a second socket is handed to it as if it had come by the first. Throws what listening throws. */
export async function listenOn(server: Server, target: ListenTarget): Promise<Listening> {
  server.maxConnections = LIMITS.connectionsPerWorker;
  const [first, ...others] = 'sockets' in target ? target.sockets.map((fd) => ({ fd })) : placesOf(target.address);
  if (first === undefined) throw new RangeError('there is nothing to listen on');
  await listenAt(server, first);
  const address = server.address();
  const bound =
    address === null || typeof address === 'string' ? undefined : { host: address.address, port: address.port };
  const besides: SocketServer[] = [];
  for (const place of others) {
    // As node:http sets up its own server.
    const besideServer = createServer({ allowHalfOpen: true, noDelay: true });
    besideServer.maxConnections = LIMITS.connectionsPerWorker;
    besideServer.on('connection', (socket) => server.emit('connection', socket));
    await listenAt(besideServer, 'fd' in place ? place : { ...place, port: bound?.port ?? place.port });
    besides.push(besideServer);
  }
  return {
    bound,
    close: () => {
      for (const besideServer of besides) besideServer.close();
    },
  };
}

interface Place {
  readonly host: string;
  readonly port: number;
  /** Instead, where the system has no such kind of address. */
  readonly otherwise?: string | undefined;
}

function placesOf({ host, port }: ListenAddress): readonly Place[] {
  // This one takes IPv4 connections too, wherever the system is set up as usual.
  if (host === undefined) return [{ host: '::', port, otherwise: '0.0.0.0' }];
  if (host !== 'localhost') return [{ host, port }];
  // Clients try either; ::1 alone would leave out those that know IPv4 only.
  return [
    { host: '127.0.0.1', port },
    { host: '::1', port, otherwise: '' },
  ];
}

async function listenAt(server: SocketServer, place: Place | { readonly fd: number }): Promise<void> {
  if ('fd' in place) return listening(server, place);
  const { host, port, otherwise } = place;
  try {
    await listening(server, { host, port });
  } catch (error) {
    if (otherwise === undefined || !NO_SUCH_ADDRESS.has(systemErrorCode(error) ?? '')) throw error;
    if (otherwise !== '') await listening(server, { host: otherwise, port });
  }
}

const NO_SUCH_ADDRESS: ReadonlySet<string> = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL']);

async function listening(server: SocketServer, options: ListenOptions & { readonly fd?: number }): Promise<void> {
  server.listen(options);
  await once(server, 'listening');
}
