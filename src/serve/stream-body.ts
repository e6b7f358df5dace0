import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';

/**
 * Writes exactly `sizeBytes` from `source` as the body of a response whose headers are set, as fast as the client reads.
 * A client that goes away is no error. Throws when the source fails or has another length; the connection is broken off then, since
 * only that tells the client that what it got is not the whole.
 */
export async function streamBody(response: ServerResponse, source: Readable, sizeBytes: number): Promise<void> {
  const stop = (): void => void source.destroy();
  response.once('close', stop);
  try {
    if (!response.destroyed) await copy(response, source, sizeBytes);
    response.end();
  } catch (error) {
    const clientLeft = response.destroyed;
    response.destroy();
    if (!clientLeft) throw error;
  } finally {
    response.off('close', stop);
    source.destroy();
  }
}

async function copy(response: ServerResponse, source: Readable, sizeBytes: number): Promise<void> {
  let sentBytes = 0;
  for await (const chunk of source as AsyncIterable<Buffer>) {
    sentBytes += chunk.length;
    if (sentBytes > sizeBytes) break;
    if (!response.write(chunk)) await writable(response);
  }
  if (sentBytes !== sizeBytes) throw new Error(`the file gave ${sentBytes} bytes instead of ${sizeBytes}`);
}

/** Resolves when more may be written, or never will be. */
function writable(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    if (response.destroyed) return resolve();
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.once('drain', done);
    response.once('close', done);
  });
}
