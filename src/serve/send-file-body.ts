import type { ServerResponse } from 'node:http';
import type { OpenedFile } from './opened-file.ts';
import type { TransferBuffers } from './transfer-buffers.ts';

export interface FilePart {
  readonly file: Pick<OpenedFile, 'read' | 'close'>;
  readonly startByte: number;
  readonly lengthBytes: number;
}

/**
 * Writes a part of a file as the body of a response whose head is set, as fast as the client reads, and closes the file. A client that goes
 * away is no error. Throws when the file cannot be read or ends early; the connection is broken off then, since only that tells the client
 * that what it got is not the whole.
 */
export async function sendFileBody(response: ServerResponse, part: FilePart, buffers: TransferBuffers): Promise<void> {
  const { file } = part;
  const stop = (): void => file.close();
  response.once('close', stop);
  const buffer = buffers.take();
  let arrived = false;
  try {
    arrived = await copy(response, part, buffer);
  } catch (error) {
    const clientLeft = response.destroyed;
    response.destroy();
    if (!clientLeft) throw error;
  } finally {
    response.off('close', stop);
    file.close();
    // Where the client has gone, the system may still be reading from it.
    buffers.giveBack(buffer, arrived);
  }
}

/** Whether everything went out; not when the client has gone. */
async function copy(
  response: ServerResponse,
  { file, startByte, lengthBytes }: FilePart,
  buffer: Buffer,
): Promise<boolean> {
  let sentBytes = 0;
  do {
    const wanted = buffer.subarray(0, Math.min(buffer.length, lengthBytes - sentBytes));
    const readBytes = wanted.length === 0 ? 0 : await file.read(wanted, startByte + sentBytes);
    if (readBytes === 0 && wanted.length > 0) {
      throw new Error(`the file gave ${sentBytes} bytes instead of ${lengthBytes}`);
    }
    sentBytes += readBytes;
    if (!(await write(response, buffer.subarray(0, readBytes), sentBytes === lengthBytes))) return false;
  } while (sentBytes < lengthBytes);
  return true;
}

/** Resolves to true when the system has taken the bytes, to false when the connection has ended before. */
function write(response: ServerResponse, bytes: Buffer, last: boolean): Promise<boolean> {
  return new Promise((resolve) => {
    const onClose = (): void => resolve(false);
    if (response.destroyed) return onClose();
    response.once('close', onClose);
    const done = (error?: Error | null): void => {
      response.off('close', onClose);
      resolve(error === undefined || error === null);
    };
    if (last) response.end(bytes, done);
    else response.write(bytes, done);
  });
}
