import type { ServerResponse } from 'node:http';
import { LIMITS } from '../base/limits.ts';
import type { GrowingNar, NarProgress } from '../proxy/growing-nar.ts';
import { type OpenedFile, openRegularFile } from './opened-file.ts';
import type { TransferBuffers } from './transfer-buffers.ts';

/** The part of a NAR that an answer has: from `start` to the byte before `end`, or to wherever it ends. */
export interface GrowingPart {
  readonly file: Pick<OpenedFile, 'read' | 'close'>;
  readonly start: number;
  readonly end: number | undefined;
}

/**
 * Writes a NAR, or a part of it, while it arrives, as the body of a response whose head is set. The last piece goes out only when all of the NAR is
 * verified; otherwise the connection is broken off, and no client can take what it got for the whole. A client that goes away is no error.
 */
export async function sendGrowingNar(
  response: ServerResponse,
  nar: GrowingNar,
  part: GrowingPart,
  buffers: TransferBuffers,
): Promise<'sent' | 'failed' | 'client left'> {
  const { file } = part;
  const onClose = (): void => nar.close();
  response.once('close', onClose);
  const buffer = buffers.take();
  let arrived = false;
  try {
    arrived = await copy(response, nar, part, buffer);
  } finally {
    response.off('close', onClose);
    nar.close();
    file.close();
    buffers.giveBack(buffer, arrived);
  }
  if (arrived) return 'sent';
  const clientLeft = response.destroyed;
  response.destroy();
  return clientLeft ? 'client left' : 'failed';
}

/** Resolves when something can be said of the NAR: enough of it is here that an answer may begin, or it is known how it ended. */
export async function begun(nar: GrowingNar): Promise<NarProgress> {
  let progress = nar.progress;
  while (progress.state === 'growing' && progress.availableBytes <= LIMITS.proxyHeldBackBytes) {
    progress = await nar.changed(progress);
  }
  return progress;
}

/**
 * Opens the file of a NAR that is on its way. It is renamed when it is verified, and again when it is published, but open it stays the same. Undefined:
 * it is in the mirror by now, or nowhere.
 */
export async function openGrowingFile(nar: GrowingNar): Promise<OpenedFile | undefined> {
  for (let { progress } = nar; ; ) {
    const opened = progress.file === undefined ? undefined : await openRegularFile(progress.file, false);
    if (opened !== undefined && opened !== 'link') return opened;
    if (progress.state !== 'growing') return undefined;
    progress = await nar.changed(progress);
  }
}

async function copy(
  response: ServerResponse,
  nar: GrowingNar,
  { file, start, end }: GrowingPart,
  buffer: Buffer,
): Promise<boolean> {
  let position = start;
  let progress = nar.progress;
  for (;;) {
    const until = sendableUntil(progress, end);
    if (until === undefined) return false;
    while (position < until) {
      const wanted = buffer.subarray(0, Math.min(buffer.length, until - position));
      const readBytes = await file.read(wanted, position);
      if (readBytes === 0) return false;
      if (!(await write(response, buffer.subarray(0, readBytes)))) return false;
      position += readBytes;
    }
    if (progress.state === 'verified') return finish(response);
    progress = await nar.changed(progress);
  }
}

/** How far the answer may go by now; undefined when there will never be more. */
function sendableUntil({ state, availableBytes }: NarProgress, end: number | undefined): number | undefined {
  if (state === 'verified') return Math.min(end ?? availableBytes, availableBytes);
  if (state !== 'growing') return undefined;
  const lastUnverified = Math.max(0, (end ?? Number.POSITIVE_INFINITY) - LIMITS.proxyHeldBackBytes);
  return Math.min(Math.max(0, availableBytes - LIMITS.proxyHeldBackBytes), lastUnverified);
}

/** Resolves to true when the system has taken the bytes, to false when the connection has ended before. */
function write(response: ServerResponse, bytes: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const onClose = (): void => resolve(false);
    if (response.destroyed) return onClose();
    response.once('close', onClose);
    response.write(bytes, (error) => {
      response.off('close', onClose);
      resolve(error === undefined || error === null);
    });
  });
}

function finish(response: ServerResponse): Promise<boolean> {
  return new Promise((resolve) => {
    if (response.destroyed) return resolve(false);
    response.once('close', () => resolve(response.writableFinished));
    response.end(() => resolve(true));
  });
}
