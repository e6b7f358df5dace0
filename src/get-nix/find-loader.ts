import { closeSync, existsSync, lstatSync, openSync, readlinkSync, readSync } from 'node:fs';
import { join, posix } from 'node:path';
import { LIMITS } from '../base/limits.ts';
import { baseNameOf, type StorePath } from '../nix/index.ts';
import type { NixLoader } from './enter-script.ts';

/**
 * How the programs of an unpacked Nix start where its store is not under /nix. Undefined where that cannot be done: the program has no
 * loader, or one of the system.
 * @param storeRoot the folder that stands for `/`
 * @param closure all paths that the Nix needs
 */
export function findLoader(
  storeRoot: string,
  storePath: StorePath,
  closure: readonly StorePath[],
): NixLoader | undefined {
  const program = followLinks(storeRoot, `${storePath}/bin/nix`);
  const interpreter = program === undefined ? undefined : readInterpreter(program);
  const loader = interpreter === undefined ? undefined : followLinks(storeRoot, interpreter);
  if (program === undefined || loader === undefined || !loader.startsWith(`${storeRoot}/`)) return undefined;
  const storeFolder = join(storeRoot, posix.dirname(storePath));
  const libraryFolders = closure
    .map((path) => join(storeFolder, baseNameOf(path), 'lib'))
    .filter((folder) => existsSync(folder) && !/[:;$]/.test(folder));
  return { loader, program, libraryFolders };
}

/** Where a file is on disk whose name, and whose links, take `root` for `/`; undefined when it is not in there. */
function followLinks(root: string, name: string): string | undefined {
  let parts = name.split('/').filter((part) => part !== '');
  let done = '/';
  for (let hops = 0; parts.length > 0; ) {
    const [part = '', ...rest] = parts;
    const next = posix.join(done, part);
    const stats = lstatSync(join(root, next), { throwIfNoEntry: false });
    if (stats === undefined || hops > LIMITS.programLinkHops) return undefined;
    if (!stats.isSymbolicLink()) {
      done = next;
      parts = rest;
      continue;
    }
    hops += 1;
    const target = posix.resolve(done, readlinkSync(join(root, next)));
    parts = [...target.split('/').filter((one) => one !== ''), ...rest];
    done = '/';
  }
  return join(root, done);
}

/** The loader that a 64-bit ELF program names. Source: the ELF format, program header PT_INTERP. */
function readInterpreter(program: string): string | undefined {
  const file = openSync(program, 'r');
  try {
    const header = readAt(file, 0, ELF64_HEADER_BYTES);
    if (header.length < ELF64_HEADER_BYTES || header[4] !== ELF64) return undefined;
    const [offset, sizeBytes, count] = [
      Number(header.readBigUInt64LE(32)),
      header.readUInt16LE(54),
      header.readUInt16LE(56),
    ];
    for (let i = 0; i < count; i += 1) {
      const entry = readAt(file, offset + i * sizeBytes, PROGRAM_HEADER_BYTES);
      if (entry.length < PROGRAM_HEADER_BYTES || entry.readUInt32LE(0) !== PT_INTERP) continue;
      const nameBytes = Math.min(Number(entry.readBigUInt64LE(32)), NAME_BYTES_MAX);
      return readAt(file, Number(entry.readBigUInt64LE(8)), nameBytes)
        .toString('latin1')
        .replace(/\0.*$/s, '');
    }
    return undefined;
  } finally {
    closeSync(file);
  }
}

const ELF64 = 2;
const ELF64_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const PT_INTERP = 3;
const NAME_BYTES_MAX = 4096;

function readAt(file: number, position: number, sizeBytes: number): Buffer {
  const buffer = Buffer.alloc(sizeBytes);
  return buffer.subarray(0, readSync(file, buffer, 0, sizeBytes, position));
}
