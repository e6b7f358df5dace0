import { decompressStream } from '../base/compression/decompress-stream.ts';
import { NixferryError } from '../base/errors.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { readableCompression } from '../mirror/nar-hash.ts';
import { hashPartOf, type NarInfo, type StorePath } from '../nix/index.ts';
import type { PackedClosure } from './unpack-closure.ts';

/** The closure of paths as a mirror holds it. Throws `upstream-incomplete` naming a path that the mirror lacks. */
export async function closureInMirror(mirror: Mirror, roots: readonly StorePath[]): Promise<PackedClosure<NarInfo>> {
  const infos = new Map<StorePath, NarInfo>();
  const wanted = [...roots];
  for (let path = wanted.pop(); path !== undefined; path = wanted.pop()) {
    if (infos.has(path)) continue;
    const info = await mirror.readNarInfo(hashPartOf(path));
    if (info === undefined) {
      throw new NixferryError('upstream-incomplete', `the mirror ${mirror.directory} does not hold ${path}`, {
        hint: 'collect it first: nixferry get-nix',
      });
    }
    infos.set(path, info);
    wanted.push(...info.references);
  }
  return { paths: [...infos.values()], nar: (info, signal) => narInMirror(mirror, info, signal) };
}

/** The NAR of a path of the mirror, decompressed and not checked. */
export async function* narInMirror(mirror: Mirror, info: NarInfo, signal: AbortSignal | undefined) {
  const file = await mirror.storage.open(info.url);
  if (file === undefined) {
    throw new NixferryError('damage', `${info.url} is missing from the mirror ${mirror.directory}`, {
      hint: `type: nixferry verify --mirror ${mirror.directory}`,
    });
  }
  try {
    yield* decompressStream(readableCompression(info), file.stream, { maxBytes: info.narSizeBytes, signal });
  } finally {
    file.stream.destroy();
  }
}
