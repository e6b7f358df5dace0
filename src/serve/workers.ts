import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Logger } from 'pino';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Listening } from './listen.ts';
import type { ListenAddress } from './listen-address.ts';
import { workerProgram } from './worker-program.ts';
import {
  isWorkerReport,
  WORKER_SETTINGS_VARIABLE,
  type WorkerOrder,
  type WorkerReport,
  type WorkerSettings,
} from './worker-protocol.ts';

/** Several serving processes behind one socket, which this process holds and otherwise stays out of the way. */
export interface Workers {
  readonly bound: Listening['bound'];
  /** Resolves when no worker is left and none can be started any more. */
  readonly lost: Promise<void>;
  close(): Promise<void>;
  closeNow(): Promise<void>;
}

/** Resolves when all `count` workers listen. Throws what kept the first one from it. */
export async function openWorkers(settings: WorkerSettings, count: number, logger: Logger): Promise<Workers> {
  const { listenOn } = settings;
  const fixed = 'sockets' in listenOn ? listenOn : { address: await fixPort(listenOn.address) };
  const pool = new WorkerPool({ ...settings, listenOn: fixed }, logger);
  try {
    const [bound] = await Promise.all(Array.from({ length: count }, () => pool.start()));
    return { bound, lost: pool.lost, close: () => pool.close(), closeNow: () => pool.closeNow() };
  } catch (error) {
    await pool.closeNow();
    throw error;
  }
}

class WorkerPool {
  readonly #settings: WorkerSettings;
  readonly #logger: Logger;
  readonly #running = new Set<Worker>();
  readonly #restarts = new Set<NodeJS.Timeout>();
  #restartDelayMs: number = LIMITS.workerRestartBaseMs;
  #stopping = false;
  readonly #lost = Promise.withResolvers<void>();

  constructor(settings: WorkerSettings, logger: Logger) {
    this.#settings = settings;
    this.#logger = logger;
  }

  get lost(): Promise<void> {
    return this.#lost.promise;
  }

  /** Starts a worker and resolves to where it listens. One that dies later is replaced; one that never came to listen is not. */
  async start(): Promise<Listening['bound']> {
    const worker = this.#fork();
    const report = await firstReport(worker);
    if (report.type === 'failed') throw errorOf(report);
    const startedMs = performance.now();
    worker.once('exit', (exitCode: number | null, signal: string | null) => {
      if (this.#stopping) return;
      if ('sockets' in this.#settings.listenOn && this.#running.size === 0) {
        this.#lose();
        return;
      }
      this.#logger.error({ worker: worker.process.pid, exitCode, signal }, 'worker died; it will be replaced');
      if (performance.now() - startedMs > LIMITS.workerRestartCeilingMs) {
        this.#restartDelayMs = LIMITS.workerRestartBaseMs;
      }
      this.#restart();
    });
    return report.bound;
  }

  async close(): Promise<void> {
    this.#stop();
    const order: WorkerOrder = { type: 'close' };
    for (const worker of this.#running) if (worker.isConnected()) worker.send(order);
    // The workers keep the grace time themselves; this is for one that hangs.
    const graceMs = (this.#settings.shutdownGraceMs ?? LIMITS.shutdownGraceMs) + HANGING_WORKER_MS;
    const cutOff = setTimeout(() => this.#kill(), graceMs);
    await this.#allGone();
    clearTimeout(cutOff);
  }

  async closeNow(): Promise<void> {
    this.#stop();
    this.#kill();
    await this.#allGone();
  }

  #fork(): Worker {
    cluster.setupPrimary(workerProgram());
    const worker = cluster.fork({ [WORKER_SETTINGS_VARIABLE]: JSON.stringify(this.#settings) });
    this.#running.add(worker);
    worker.once('exit', () => this.#running.delete(worker));
    // A message to a worker that has just died; its exit is dealt with.
    worker.on('error', () => {});
    return worker;
  }

  /** node:cluster has closed the sockets with the last worker, and only who started us can open them again. */
  #lose(): void {
    this.#logger.error('all workers have died, and with them the sockets that were handed to us');
    this.#stop();
    this.#lost.resolve();
  }

  #restart(): void {
    const timer = setTimeout(() => {
      this.#restarts.delete(timer);
      this.start().catch((error: unknown) => {
        if (this.#stopping) return;
        this.#logger.error({ err: error }, 'worker could not be replaced; trying again');
        this.#restart();
      });
    }, this.#restartDelayMs);
    this.#restarts.add(timer);
    this.#restartDelayMs = Math.min(this.#restartDelayMs * 2, LIMITS.workerRestartCeilingMs);
  }

  #stop(): void {
    this.#stopping = true;
    for (const timer of this.#restarts) clearTimeout(timer);
    this.#restarts.clear();
  }

  #kill(): void {
    for (const worker of this.#running) worker.process.kill('SIGKILL');
  }

  async #allGone(): Promise<void> {
    await Promise.all([...this.#running].map((worker) => new Promise((resolve) => worker.once('exit', resolve))));
  }
}

const HANGING_WORKER_MS = 2000;

/**
 * Chooses the port when any will do: node:cluster takes all servers of a process that listen on port 0 for one, and would choose
 * again when all workers have died.
 */
async function fixPort(address: ListenAddress): Promise<ListenAddress> {
  if (address.port !== 0) return address;
  const probe = createServer();
  probe.listen({ port: 0, host: address.host });
  await once(probe, 'listening');
  const bound = probe.address();
  probe.close();
  await once(probe, 'close');
  return bound === null || typeof bound === 'string' ? address : { ...address, port: bound.port };
}

function firstReport(worker: Worker): Promise<WorkerReport> {
  return new Promise((resolve, reject) => {
    worker.on('message', (message: unknown) => {
      if (isWorkerReport(message)) resolve(message);
    });
    worker.once('exit', (exitCode: number | null, signal: string | null) => {
      reject(new Error(`a worker process ended before it listened (${signal ?? `exit code ${exitCode}`})`));
    });
  });
}

function errorOf(report: WorkerReport & { type: 'failed' }): Error {
  if (report.code === undefined) return new Error(report.message);
  return new NixferryError(report.code, report.message, { hint: report.hint });
}
