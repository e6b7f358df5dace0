import { join } from 'node:path';
import { z } from 'zod';
import { makeFolders, readFileIfExists, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { type Hash, hashBytes, NixFormatError, parseHash } from '../nix/index.ts';
import { type FileHashes, hashFile } from './file-hashes.ts';
import type { SeenFile } from './source-folder.ts';

/** The hashes of the files of one folder, from earlier runs and from this one. All of it can be had again. */
export class HashMemory {
  readonly #file: string;
  readonly #known: Map<string, Remembered>;
  #changed = false;

  /** Hashes that were saved for the folder; a damaged file is as good as none. */
  static async open(cacheFolder: string, folder: string): Promise<HashMemory> {
    const file = join(
      cacheFolder,
      `${hashBytes('sha256', folder).slice('sha256:'.length, 'sha256:'.length + 32)}.jsonl`,
    );
    const bytes = await readFileIfExists(file, LIMITS.sourceHashesBytes);
    return new HashMemory(file, parseLines(bytes?.toString('utf8') ?? ''));
  }

  private constructor(file: string, known: Map<string, Remembered>) {
    this.#file = file;
    this.#known = known;
  }

  /** Undefined where the file is not what it was when it was hashed. */
  get({ name, sizeBytes, modifiedMs }: SeenFile): FileHashes | undefined {
    const known = this.#known.get(name);
    return known?.sizeBytes === sizeBytes && known.modifiedMs === modifiedMs ? known.hashes : undefined;
  }

  async hash(root: string, { name, sizeBytes, modifiedMs }: SeenFile, signal: AbortSignal): Promise<void> {
    try {
      const hashes = await hashFile(join(root, name), sizeBytes, signal);
      this.#known.set(name, { sizeBytes, modifiedMs, hashes });
      this.#changed = true;
    } catch (error) {
      // It is being written just now: another run may find it whole.
      if (!(error instanceof NixFormatError)) throw error;
    }
  }

  /** Keeps the hashes of these files alone: others are gone. */
  async save(files: readonly SeenFile[]): Promise<void> {
    if (!this.#changed) return;
    const lines = files.flatMap((file) => {
      const hashes = this.get(file);
      return hashes === undefined ? [] : [formatLine(file, hashes)];
    });
    await makeFolders(join(this.#file, '..'));
    await writeFileAtomic(this.#file, lines.join(''));
  }
}

interface Remembered {
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly hashes: FileHashes;
}

function formatLine({ name, sizeBytes, modifiedMs }: SeenFile, { flat, executable }: FileHashes): string {
  return `${JSON.stringify([name, sizeBytes, modifiedMs, flat.md5, flat.sha1, flat.sha256, flat.sha512, executable])}\n`;
}

const lineSchema = z.tuple([
  z.string(),
  z.number(),
  z.number(),
  z.string(),
  z.string(),
  z.string(),
  z.string(),
  z.string(),
]);

function parseLines(text: string): Map<string, Remembered> {
  const known = new Map<string, Remembered>();
  for (const line of text.split('\n')) {
    const remembered = line === '' ? undefined : parseLine(line);
    if (remembered !== undefined) known.set(remembered.name, remembered);
  }
  return known;
}

function parseLine(line: string): (Remembered & { readonly name: string }) | undefined {
  try {
    const [name, sizeBytes, modifiedMs, ...hashes] = lineSchema.parse(JSON.parse(line));
    const [md5, sha1, sha256, sha512, executable] = hashes.map((hash) => parseHash(hash)) as [
      Hash,
      Hash,
      Hash,
      Hash,
      Hash,
    ];
    return { name, sizeBytes, modifiedMs, hashes: { flat: { md5, sha1, sha256, sha512 }, executable } };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError || error instanceof NixFormatError)
      return undefined;
    throw error;
  }
}
