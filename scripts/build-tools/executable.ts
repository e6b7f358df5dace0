import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { inject } from 'postject';
import { RENAMED } from './libraries.ts';

export interface ExecutableParts {
  /** The Node binary that becomes the program. */
  readonly node: string;
  /** Whether that Node is for this kind of machine; only then can it compile the code in advance. */
  readonly runsHere: boolean;
  /** The source text of the CommonJS main. */
  readonly main: string;
  /** The repository, for package.json. */
  readonly root: string;
}

/** Makes a single executable application (https://nodejs.org/api/single-executable-applications.html). */
export async function makeExecutable(parts: ExecutableParts & { readonly output: string }): Promise<void> {
  const blob = await makeBlob(parts);
  await writeFile(parts.output, renameLibraries(await readFile(parts.node)), { mode: 0o755 });
  await injectQuietly(parts.output, blob);
}

/** What goes into the Node binary: the code, and how to start it. The same parts give the same bytes. */
export async function makeBlob({ node, runsHere, main, root }: ExecutableParts): Promise<Buffer> {
  const work = await mkdtemp(path.join(tmpdir(), 'nixferry-sea-'));
  try {
    const inWork = (name: string): string => path.join(work, name);
    // Names without a folder: that of the main is a part of the blob.
    const configuration = {
      main: 'nixferry.cjs',
      output: 'blob',
      disableExperimentalSEAWarning: true,
      useCodeCache: runsHere,
      // What the isolated machine has in NODE_OPTIONS was meant for another program.
      execArgvExtension: 'none',
      assets: { 'package.json': 'package.json' },
    };
    await writeFile(inWork(configuration.main), main);
    await copyFile(path.join(root, 'package.json'), inWork('package.json'));
    await writeFile(inWork('sea.json'), JSON.stringify(configuration));
    // Whatever Node makes the blob, it must be of the same version as the one that it goes into.
    const maker = runsHere ? node : process.execPath;
    await promisify(execFile)(maker, [SAME_CODE_CACHE, '--experimental-sea-config', 'sea.json'], { cwd: work });
    return await readFile(inWork(configuration.output));
  } finally {
    await rm(work, { recursive: true });
  }
}

/** What V8 compiles in advance lies in the order of its hash tables; --hash-seed would do as well, but code made with that is refused without it. */
const SAME_CODE_CACHE = '--random-seed=1';
const SENTINEL_FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';

/** Puts names of the same length in the place of those that not every medium can hold. */
function renameLibraries(elf: Buffer): Buffer {
  for (const [name, carriedName] of RENAMED) {
    const wanted = Buffer.from(`${name}\0`);
    const at = elf.indexOf(wanted);
    if (at === -1 || elf.includes(wanted, at + 1) || carriedName.length !== name.length) {
      throw new Error(`the Node binary does not name ${name} exactly once`);
    }
    elf.write(carriedName, at, 'latin1');
  }
  return elf;
}

/** postject complains about every section of Node that is not named in the way it expects; that is no problem. */
async function injectQuietly(file: string, blob: Buffer): Promise<void> {
  const { error, warn, log } = console;
  try {
    Object.assign(console, { error: () => {}, warn: () => {}, log: () => {} });
    await inject(file, 'NODE_SEA_BLOB', blob, { sentinelFuse: SENTINEL_FUSE });
  } finally {
    Object.assign(console, { error, warn, log });
  }
}
