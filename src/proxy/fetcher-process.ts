import { type ChildProcess, fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { childProgram } from '../base/child-program.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { UpstreamState } from '../mirror/upstream-state.ts';
import {
  FETCHER_SETTINGS_VARIABLE,
  type FetcherReport,
  type FetcherSettings,
  isFetcherReport,
  type ProxyOptions,
} from './protocol.ts';

/** The process that deals with upstreams, started again whenever it dies. */
export interface FetcherProcess {
  /** Where the serving processes reach it. */
  readonly socketFile: string;
  /** Undefined while it is being started again. */
  readonly pid: number | undefined;
  /** Resolves to how the upstreams are when it first answers; until then, questions wait. Rejects with what keeps it from that; then it is to be closed. */
  readonly ready: Promise<readonly UpstreamState[]>;
  close(): Promise<void>;
}

/** Begins to start it. */
export async function startFetcherProcess(
  mirrorDirectory: string,
  options: ProxyOptions,
  logger: Logger,
): Promise<FetcherProcess> {
  // A name in the temp folder is short enough for a socket, wherever the mirror is; nobody else can look into the folder.
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-proxy-'));
  const settings = { ...options, mirrorDirectory, socketFile: join(folder, 'socket'), logLevel: logger.level };
  const keeper = new Keeper(settings, logger);
  const close = async (): Promise<void> => {
    await keeper.close();
    await rm(folder, { recursive: true, force: true });
  };
  const ready = keeper.start();
  // Whoever waits for it hears of it.
  ready.catch(() => {});
  return {
    socketFile: settings.socketFile,
    get pid() {
      return keeper.pid;
    },
    ready,
    close,
  };
}

class Keeper {
  readonly #settings: FetcherSettings;
  readonly #logger: Logger;
  #child: ChildProcess | undefined;
  #restartDelayMs: number = LIMITS.proxyRestartBaseMs;
  #restart: NodeJS.Timeout | undefined;
  #isClosing = false;

  constructor(settings: FetcherSettings, logger: Logger) {
    this.#settings = settings;
    this.#logger = logger;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  async start(): Promise<readonly UpstreamState[]> {
    const child = this.#fork();
    const report = await firstReport(child);
    if (report.type === 'failed') {
      if (report.code === undefined) throw new Error(report.message);
      throw new NixferryError(report.code, report.message, { hint: report.hint });
    }
    const startedMs = performance.now();
    child.once('exit', (exitCode: number | null, signal: string | null) => {
      this.#child = undefined;
      if (this.#isClosing) return;
      this.#logger.error({ exitCode, signal }, 'the process that asks upstreams died; it will be replaced');
      if (performance.now() - startedMs > LIMITS.proxyRestartCeilingMs) {
        this.#restartDelayMs = LIMITS.proxyRestartBaseMs;
      }
      this.#startAgain();
    });
    return report.upstreams;
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    if (child.connected) child.send('close');
    const cutOff = setTimeout(() => child.kill('SIGKILL'), HANGING_MS);
    await gone;
    clearTimeout(cutOff);
  }

  #fork(): ChildProcess {
    const { exec, execArgv } = childProgram(() => new URL('./fetcher-main', import.meta.url));
    const child = fork(exec, [], {
      execArgv,
      execPath: process.execPath,
      env: { ...process.env, [FETCHER_SETTINGS_VARIABLE]: JSON.stringify(this.#settings) },
    });
    // A message to one that has just died; its exit is dealt with.
    child.on('error', () => {});
    this.#child = child;
    return child;
  }

  #startAgain(): void {
    this.#restart = setTimeout(() => {
      this.start().catch((error: unknown) => {
        if (this.#isClosing) return;
        this.#logger.error({ err: error }, 'it could not be replaced; trying again');
        this.#startAgain();
      });
    }, this.#restartDelayMs);
    this.#restartDelayMs = Math.min(this.#restartDelayMs * 2, LIMITS.proxyRestartCeilingMs);
  }
}

const HANGING_MS = 8000;

function firstReport(child: ChildProcess): Promise<FetcherReport> {
  return new Promise((resolve, reject) => {
    child.on('message', (message: unknown) => {
      if (isFetcherReport(message)) resolve(message);
    });
    child.once('exit', (exitCode, signal) => {
      reject(
        new Error(`the process that asks upstreams ended before it was ready (${signal ?? `exit code ${exitCode}`})`),
      );
    });
  });
}
