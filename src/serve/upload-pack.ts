import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { killGroup } from '../base/git-program.ts';
import { LIMITS } from '../base/limits.ts';

/** One question of a client of git, for `git upload-pack` to answer: the one program of git that only reads. */
export interface UploadPackCall {
  /** The full path of git. */
  readonly git: string;
  /** The repository's folder. */
  readonly folder: string;
  /** How the client wants to speak: 0, 1 or 2. */
  readonly protocol: number;
  /** What it says, or undefined where it only asks what there is. */
  readonly question: Buffer | undefined;
}

/**
 * The answer, as it is made. The program gets nothing from the client but the question on its input: no word of its command line or environment, and no configuration
 * but ours. It and what it has started end when nobody reads on.
 */
export async function* uploadPack({ git, folder, protocol, question }: UploadPackCall): AsyncGenerator<Buffer, void> {
  const settings = [
    `safe.directory=${folder}`,
    'core.hooksPath=/dev/null',
    'core.fsmonitor=false',
    'uploadpack.allowAnySHA1InWant=true',
    'uploadpack.allowFilter=true',
    'pack.threads=1',
    'pack.windowMemory=256m',
  ].flatMap((setting) => ['-c', setting]);
  const mode = question === undefined ? ['--advertise-refs'] : [];
  const child = spawn(git, [...settings, 'upload-pack', '--stateless-rpc', '--strict', ...mode, folder], {
    detached: true,
    cwd: '/',
    stdio: [question === undefined ? 'ignore' : 'pipe', 'pipe', 'ignore'],
    env: {
      PATH: process.env['PATH'] ?? '',
      LC_ALL: 'C',
      HOME: '/var/empty',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_NO_REPLACE_OBJECTS: '1',
      ...(protocol === 0 ? {} : { GIT_PROTOCOL: `version=${protocol}` }),
    },
  });
  const ended = once(child, 'close') as Promise<[number | null]>;
  ended.catch(() => {});
  try {
    // It may have seen enough before the end.
    child.stdin?.on('error', () => {});
    child.stdin?.end(question);
    let isBegun = false;
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      isBegun = true;
      yield chunk;
    }
    const [code] = await ended;
    if (code !== 0 && question !== undefined && !isBegun) throw new NotUnderstood('git does not understand this');
    // What came so far is not all: the connection must not end as if it were.
    if (code !== 0) throw new Error(`git upload-pack ended with ${code ?? 'a signal'}`);
  } finally {
    killGroup(child);
  }
}

/** The client is to blame. */
class NotUnderstood extends Error {
  readonly statusCode = 400;
}

/** What `Git-Protocol` asks for; 0 for anything but a version that git knows. */
export function parseGitProtocol(header: string | string[] | undefined): number {
  const [, version] = /^version=([12])$/.exec(String(header ?? '').slice(0, LIMITS.requestUrlBytes)) ?? [];
  return version === undefined ? 0 : Number(version);
}
