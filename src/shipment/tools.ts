import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { explainWriteError, NixferryError } from '../base/errors.ts';
import { readFileIfExists, syncDirectory } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { CHECKSUMS_FILE } from './format.ts';
import { checkReadBack } from './read-back.ts';

/** Nixferry as it travels: what `npm run build:tools` made, or what came on a medium. */
export interface Tools {
  readonly folder: string;
  readonly files: readonly ToolFile[];
}

export interface ToolFile {
  /** Relative to the folder, with `/`. */
  readonly name: string;
  readonly sizeBytes: number;
  /** In hex. */
  readonly sha256: string;
}

/** What is typed on the isolated side; it must be among the files. */
export const TOOLS_LAUNCHER = 'nixferry';

/** One folder for each kind of machine, and names that every medium takes. */
export const TOOL_NAME = /^([A-Za-z0-9][A-Za-z0-9._-]{0,59}\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,59}$/;

/** Reads which files belong to the tools in a folder, from the SHA256SUMS there. Throws `tools-missing` when they are not all there. */
export async function readTools(folder: string): Promise<Tools> {
  const list = await readFileIfExists(join(folder, CHECKSUMS_FILE), LIMITS.toolsListBytes);
  if (list === undefined) throw toolsMissing(`${folder} does not hold the Nixferry that goes onto the medium`);
  const digests = new Map([[CHECKSUMS_FILE, createHash('sha256').update(list).digest('hex')]]);
  for (const line of list.toString('latin1').split('\n').slice(0, -1)) {
    const [, sha256 = '', name = ''] = /^([0-9a-f]{64}) {2}(.*)$/.exec(line) ?? [];
    if (!TOOL_NAME.test(name)) throw toolsMissing(`${join(folder, CHECKSUMS_FILE)} is not a list of tools`);
    digests.set(name, sha256);
  }
  if (!digests.has(TOOLS_LAUNCHER)) throw toolsMissing(`${folder} does not hold the file ${TOOLS_LAUNCHER}`);
  const files: ToolFile[] = [];
  for (const [name, sha256] of digests) {
    const stats = await stat(join(folder, name)).catch(() => undefined);
    if (stats?.isFile() !== true) throw toolsMissing(`${join(folder, name)} is not there`);
    files.push({ name, sizeBytes: stats.size, sha256 });
  }
  return { folder, files: files.sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

/**
 * Copies the tools into a folder, marked as programs, and reads them back. Files of an earlier attempt are overwritten.
 * Throws `tools-missing` when one is not what its hash says, `no-space`, and `damage` when the medium gives something else back.
 */
export async function writeTools(tools: Tools, folder: string, signal?: AbortSignal): Promise<void> {
  const folders = new Set([folder]);
  for (const file of tools.files) {
    const target = join(folder, file.name);
    await mkdir(dirname(target), { recursive: true });
    folders.add(dirname(target));
    await copyTool(join(tools.folder, file.name), target, file, signal);
    await checkReadBack(target, file, signal);
  }
  for (const each of folders) await syncDirectory(each);
}

const PROGRAM_MODE = 0o755;

async function copyTool(
  source: string,
  target: string,
  expected: ToolFile,
  signal: AbortSignal | undefined,
): Promise<void> {
  const sha256 = createHash('sha256');
  try {
    await using handle = await open(target, 'w', PROGRAM_MODE);
    for await (const chunk of createReadStream(source, { highWaterMark: 1024 * 1024, signal })) {
      sha256.update(chunk as Buffer);
      await handle.writeFile(chunk as Buffer);
    }
    await handle.sync();
  } catch (error) {
    throw explainWriteError(error, target);
  }
  if (sha256.digest('hex') !== expected.sha256) throw toolsMissing(`${source} is not what its SHA256SUMS says`);
}

function toolsMissing(message: string): NixferryError {
  return new NixferryError('tools-missing', message, {
    hint: 'in a clone of Nixferry: npm run build:tools; elsewhere install it again; or go without: --no-tools',
  });
}
