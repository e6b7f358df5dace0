import type { ErrorCode } from '../base/errors.ts';
import type { Listening, ListenTarget } from './listen.ts';
import type { SendfileHeader } from './sendfile-header.ts';

/** What a worker process is told in its environment, as JSON. */
export interface WorkerSettings {
  readonly mirrorDirectory: string;
  readonly listenOn: ListenTarget;
  /** How the user wrote it. */
  readonly listen: string;
  readonly processes: number;
  readonly sendfileHeader?: SendfileHeader | undefined;
  readonly publicUrl?: string | undefined;
  readonly localStore?: string | undefined;
  readonly priority?: number | undefined;
  readonly proxySocket?: string | undefined;
  readonly shutdownGraceMs?: number | undefined;
  readonly logLevel: string;
}

export const WORKER_SETTINGS_VARIABLE = 'NIXFERRY_SERVE_WORKER';

/** What a worker tells the primary process. */
export type WorkerReport =
  | { readonly type: 'listening'; readonly bound?: Listening['bound'] }
  | {
      readonly type: 'failed';
      readonly code: ErrorCode | undefined;
      readonly message: string;
      readonly hint: string | undefined;
    };

/** What the primary tells a worker; a worker whose primary is gone stops at once by itself. */
export type WorkerOrder = { readonly type: 'close' };

export function isWorkerReport(message: unknown): message is WorkerReport {
  const type = messageType(message);
  return type === 'listening' || type === 'failed';
}

export function isWorkerOrder(message: unknown): message is WorkerOrder {
  return messageType(message) === 'close';
}

function messageType(message: unknown): unknown {
  return typeof message === 'object' && message !== null && 'type' in message ? message.type : undefined;
}
