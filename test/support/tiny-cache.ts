import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatNarInfo, hashBytes, makeStorePath, type NarInfo, type StorePath } from '../../src/nix/index.ts';

export interface TinyCachePath {
  readonly info: NarInfo;
  /** What stands at `info.url`; any bytes, not a NAR. */
  readonly bytes: Buffer;
}

/** The narinfo and the file of a path that does not exist, different for each name. */
export function tinyPath(name: string, sizeBytes = 1000, changes: Partial<NarInfo> = {}): TinyCachePath {
  const bytes = Buffer.alloc(sizeBytes, `${name} `);
  const hash = hashBytes('sha256', bytes);
  const storePath: StorePath = makeStorePath('output:out', hash, name, '/nix/store');
  const common = { narHash: hash, narSizeBytes: sizeBytes, fileHash: hash, fileSizeBytes: sizeBytes };
  const info: NarInfo = {
    storePath,
    url: `nar/${name}.nar`,
    compression: 'none',
    ...common,
    references: [],
    signatures: [],
    ...changes,
  };
  return { info, bytes };
}

/** Writes a folder that looks like a binary cache. */
export async function writeTinyCache(
  directory: string,
  paths: readonly TinyCachePath[],
  cacheInfo = 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n',
): Promise<void> {
  await mkdir(join(directory, 'nar'), { recursive: true });
  await writeFile(join(directory, 'nix-cache-info'), cacheInfo);
  for (const { info, bytes } of paths) {
    const hashPart = info.storePath.slice('/nix/store/'.length, '/nix/store/'.length + 32);
    await writeFile(join(directory, `${hashPart}.narinfo`), formatNarInfo(info));
    await writeFile(join(directory, 'nar', `${info.storePath.slice('/nix/store/'.length + 33)}.nar`), bytes);
  }
}
