// A mirror to serve: 100,000 paths whose narinfos are as long as real ones, with the smallest NARs there can be, and one NAR of 200 MB. Made
// once and found in the temp folder by later runs.

import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { mapConcurrent } from '../../src/base/concurrency.ts';
import { openMirror } from '../../src/mirror/mirror.ts';
import {
  encodeBase32,
  formatNarInfo,
  hashBytes,
  hashPartOf,
  makeOutputPath,
  type NarInfo,
  type StorePath,
  signNarInfo,
} from '../../src/nix/index.ts';

/** Part of the folder's name: change it when what is generated changes. */
const GENERATION = 1;
const PATHS = 100_000;
const LARGE_NAR_BYTES = 200_000_000;
const PIECE_BYTES = 4_000_000;

export interface ServedMirror {
  readonly directory: string;
  /** A file with the address of a narinfo a line, in the order of their popularity. */
  readonly narInfoList: string;
  readonly largeNar: { readonly address: string; readonly sizeBytes: number };
}

export async function openServedMirror(note: (text: string) => void): Promise<ServedMirror> {
  const folder = path.join(tmpdir(), `nixferry-bench-served-${GENERATION}`);
  if (!existsSync(folder)) await makeMirror(folder, note);
  const largeNar = (await readFile(path.join(folder, '.nixferry/large-nar'), 'utf8')).trim();
  return {
    directory: folder,
    narInfoList: path.join(folder, '.nixferry/narinfo-list'),
    largeNar: { address: `/${largeNar}`, sizeBytes: LARGE_NAR_BYTES },
  };
}

async function makeMirror(folder: string, note: (text: string) => void): Promise<void> {
  note(`making a mirror of ${PATHS} paths in ${folder}; this takes a minute, once`);
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true });
  const mirror = await openMirror(partial, { access: 'write', create: true, keyName: 'bench-1' });
  const paths = Array.from({ length: PATHS }, (_, index) => {
    const name = `package-${index}-1.${index % 40}.${index % 7}`;
    return makeOutputPath('out', hashBytes('sha256', name), name, mirror.storeDir);
  });
  await mapConcurrent(paths, 32, async (storePath, index) => {
    const nar = Buffer.from(`the NAR of path ${index}`);
    const info = signNarInfo(describe(paths, storePath, index, nar), mirror.secretKey);
    await writeFile(path.join(partial, info.url), nar);
    await writeFile(path.join(partial, `${hashPartOf(storePath)}.narinfo`), formatNarInfo(info));
  });
  await mirror.close();
  await writeFile(path.join(partial, '.nixferry/large-nar'), await writeLargeNar(partial));
  // By hash part, which says nothing of when a path was made, and hence where it lies.
  const list = paths.map((storePath) => `/${hashPartOf(storePath)}.narinfo\n`).sort();
  await writeFile(path.join(partial, '.nixferry/narinfo-list'), list.join(''));
  await rename(partial, folder);
}

function describe(paths: readonly StorePath[], storePath: StorePath, index: number, nar: Buffer): NarInfo {
  const narHash = hashBytes('sha256', nar);
  // Most paths refer to a few others, some to dozens: ten on average.
  const count = Math.min(index, Math.floor(2 ** ((index * 7) % 6)));
  const references = Array.from({ length: count }, (_, step) => paths[(index * 31 + step * 97) % index]);
  return {
    storePath,
    url: `nar/${encodeBase32(createHash('sha256').update(nar).digest())}.nar.xz`,
    compression: 'xz',
    fileHash: narHash,
    fileSizeBytes: nar.length,
    narHash,
    narSizeBytes: 100_000 + index,
    references: [...new Set(references.filter((reference) => reference !== undefined))].sort(),
    deriver: makeOutputPath('out', hashBytes('sha256', `${index}`), `package-${index}.drv`, '/nix/store'),
    // As long as the signature of cache.nixos.org, which travels along.
    signatures: [`cache.nixos.org-1:${createHash('sha512').update(storePath).digest('base64')}`],
  };
}

/** Random bytes: whether they are those of a NAR makes no difference to who sends them. Gives the name. */
async function writeLargeNar(directory: string): Promise<string> {
  const temp = path.join(directory, '.nixferry/large-nar.partial');
  const hash = createHash('sha256');
  {
    await using file = await open(temp, 'w');
    for (let written = 0; written < LARGE_NAR_BYTES; written += PIECE_BYTES) {
      const piece = randomBytes(PIECE_BYTES);
      hash.update(piece);
      await file.write(piece);
    }
  }
  const name = `nar/${encodeBase32(hash.digest())}.nar`;
  await rename(temp, path.join(directory, name));
  return name;
}
