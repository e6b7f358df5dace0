import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { AnswerStart } from './express-answer.ts';
import { ExpressConnection, type ExpressSurroundings } from './express-connection.ts';

/** The express lane of one server; its connections are not among those that `server.closeAllConnections` knows. */
export interface ExpressLane {
  /** Ends the connections that wait for a request; others end with their answer. */
  closeIdle(): void;
  closeAll(): void;
}

/** Puts the lane between a server and its connections; before it listens. */
export function openExpressLane(
  server: Server,
  context: Pick<ExpressSurroundings, 'narInfos' | 'stopping'>,
): ExpressLane {
  const connections = new Set<ExpressConnection>();
  const ofSide = new WeakMap<object, ExpressConnection>();
  const takeAsHttp = server.listeners('connection');
  server.removeAllListeners('connection');
  const answerStart = new AnswerStart();
  server.on('connection', (socket: Socket) => {
    const connection = new ExpressConnection(socket, {
      narInfos: context.narInfos,
      stopping: context.stopping,
      answerStart,
      openHttp: (side) => {
        ofSide.set(side, connection);
        // As if it had come over the network; node:http takes any stream (http, Event: 'connection').
        for (const listener of takeAsHttp) listener.call(server, side);
      },
    });
    connections.add(connection);
    socket.once('close', () => connections.delete(connection));
  });
  server.prependListener('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    const connection = ofSide.get(socket);
    if (connection !== undefined) response.once('close', () => connection.answered());
  });
  return {
    closeIdle: () => {
      for (const connection of connections) connection.closeIdle();
    },
    closeAll: () => {
      for (const connection of connections) connection.destroy();
    },
  };
}
