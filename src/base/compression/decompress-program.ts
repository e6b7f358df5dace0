import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { pipeline } from 'node:stream';
import { carriedStart, carriedToolsFolder, type ProgramStart } from '../carried-tools.ts';
import { NixferryError } from '../errors.ts';
import { findProgram } from '../find-program.ts';
import { LIMITS } from '../limits.ts';
import { damaged } from './damage.ts';
import { GuardedSource } from './guarded-source.ts';

export type ProgramCompression = 'xz' | 'bzip2';

/** The program that decodes this compression: the one that came with us on the medium, else the system's; undefined without either. */
export function findDecompressor(compression: ProgramCompression): ProgramStart | undefined {
  const tools = carriedToolsFolder();
  if (tools !== undefined) return carriedStart(tools, compression);
  const file = findProgram(compression);
  return file === undefined ? undefined : { file, args: [] };
}

/** The `program-missing` error, with what to type. */
export function programMissing(compression: ProgramCompression): NixferryError {
  const debianPackage = compression === 'xz' ? 'xz-utils' : compression;
  return new NixferryError('program-missing', `the program ${compression}, which this data needs, is not on the PATH`, {
    hint: `apt-get install ${debianPackage}`,
  });
}

/**
 * Decodes by a child process, which reads only as fast as the consumer takes its output, and is killed on abort, on the consumer's
 * early return, and when the source fails.
 */
export async function* decompressWithProgram(
  compression: ProgramCompression,
  program: ProgramStart,
  source: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  signal?.throwIfAborted();
  const child = spawn(program.file, [...program.args, ...decompressorArguments(compression)], {
    stdio: ['pipe', 'pipe', 'pipe'],
    // XZ_OPT, BZIP2 and the like would change what the program does.
    env: { LC_ALL: 'C' },
  });
  const kill = (): void => void child.kill('SIGKILL');
  signal?.addEventListener('abort', kill, { once: true });
  const input = new GuardedSource(source);
  const ended = settle(child);
  const complaints = gatherComplaints(child);
  // A program that has seen enough closes its input: EPIPE is no failure, its exit code tells. A failing source must not look like the end.
  pipeline(input.readable, child.stdin, (error) => {
    if (error && input.failed) kill();
  });
  try {
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) yield chunk;
    const end = await ended;
    if (end.error !== undefined) throw end.error;
    if (end.code !== 0 || complaints.text !== '')
      throw damaged(compression, firstComplaint(complaints.text) ?? `${compression} ended with ${end.code}`);
  } catch (error) {
    throw input.blame(error, signal, (cause) => cause);
  } finally {
    signal?.removeEventListener('abort', kill);
    kill();
    input.readable.destroy();
  }
  if (input.failed || signal?.aborted) throw input.blame(undefined, signal, (cause) => cause);
}

/** What makes the program decode to its standard output: files named behind these, else what it is sent. */
export function decompressorArguments(compression: ProgramCompression): readonly string[] {
  return PROGRAM_ARGUMENTS[compression];
}

const PROGRAM_ARGUMENTS: Readonly<Record<ProgramCompression, readonly string[]>> = {
  xz: [
    '--decompress',
    '--stdout',
    '--format=xz',
    '--threads=1',
    `--memlimit-decompress=${LIMITS.xzDecoderMemoryBytes}`,
  ],
  bzip2: ['--decompress', '--stdout'],
};

interface ProgramEnd {
  readonly code: number | string | null;
  readonly error?: Error;
}

async function settle(child: ChildProcess): Promise<ProgramEnd> {
  try {
    const [code, killedBy] = (await once(child, 'close')) as [number | null, string | null];
    return { code: code ?? killedBy };
  } catch (error) {
    // `once` rejects on 'error': the program could not be started.
    return { code: null, error: error as Error };
  }
}

/** What the program says on stderr; bzip2 reports trailing bytes only there and ends with 0. */
function gatherComplaints(child: ChildProcess): { text: string } {
  const complaints = { text: '' };
  child.stderr?.on('data', (chunk: Buffer) => {
    const room = LIMITS.programStderrBytes - complaints.text.length;
    if (room > 0) complaints.text += chunk.toString('latin1', 0, room);
  });
  return complaints;
}

function firstComplaint(text: string): string | undefined {
  const line = text.split('\n').find((candidate) => candidate.trim() !== '');
  return line?.replace(/^\w+: /, '').replaceAll(/[^\x20-\x7e]+/g, ' ');
}
