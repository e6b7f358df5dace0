import { spawn } from 'node:child_process';
import { delimiter } from 'node:path';
import { findProgram } from '../base/find-program.ts';
import { LIMITS } from '../base/limits.ts';

export interface ServiceManager {
  /** Descriptors of the sockets that were opened for us; none unless the service manager passes some. */
  readonly sockets: readonly number[];
  /** Tells how things stand, in the words of sd_notify(3), such as READY=1. Resolves to what kept us from it, if anything did. */
  tell(...words: readonly string[]): Promise<string | undefined>;
}

/**
 * What systemd, or who speaks like it, wants with this process: sd_listen_fds(3) and sd_notify(3). The variables are taken out of
 * `environment`, so that programs that we start do not think that they are meant.
 */
export function openServiceManager(environment: NodeJS.ProcessEnv, pid: number): ServiceManager {
  const { LISTEN_PID, LISTEN_FDS, NOTIFY_SOCKET } = environment;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'NOTIFY_SOCKET']) delete environment[name];
  const count = LISTEN_PID === String(pid) && /^\d{1,3}$/.test(LISTEN_FDS ?? '') ? Number(LISTEN_FDS) : 0;
  return {
    sockets: Array.from({ length: count }, (_, index) => FIRST_SOCKET + index),
    tell: async (...words) => (NOTIFY_SOCKET === undefined ? undefined : notify(NOTIFY_SOCKET, words, environment)),
  };
}

const FIRST_SOCKET = 3;
/** Where NixOS and others have it, for services that are given a PATH without it. */
const USUAL_FOLDERS = ['/run/current-system/sw/bin', '/usr/bin', '/bin'];

/** Node has no datagram sockets of the local kind; systemd brings the program that has them wherever it is the one who asks. */
async function notify(
  socket: string,
  words: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  const program = findProgram(
    'systemd-notify',
    [...(environment['PATH'] ?? '').split(delimiter), ...USUAL_FOLDERS].join(delimiter),
  );
  if (program === undefined) return 'systemd-notify is not on the PATH';
  return new Promise((resolve) => {
    const child = spawn(program, [...words], {
      env: { ...environment, NOTIFY_SOCKET: socket },
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: LIMITS.serviceNotifyMs,
    });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said = `${said}${chunk.toString('utf8')}`.slice(0, LIMITS.programStderrBytes);
    });
    child.on('error', (error) => resolve(`${program}: ${error.message}`));
    child.on('close', (code, signal) => {
      resolve(code === 0 ? undefined : `${program} ended with ${signal ?? `exit code ${code}`}: ${said.trim()}`);
    });
  });
}
