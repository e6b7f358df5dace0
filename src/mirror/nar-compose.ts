import { createHash, randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { compressZstd } from '../base/compression/compress-zstd.ts';
import { type Hash, hashDigest, hashFromDigest } from '../nix/hash.ts';
import type { MirrorPlace } from './keys.ts';
import { narName, privateLayout } from './layout.ts';
import type { IntakenNar } from './nar-intake.ts';
import { PartialFile } from './partial-file.ts';

export interface NarComposition {
  readonly mirror: MirrorPlace;
  /** The bytes of the NAR, uncompressed, such as `writeNar` gives them. */
  readonly nar: AsyncIterable<Uint8Array>;
  /** zstd's, 1 to 19. Default 3: what is dumped from a local store is mostly configuration, and the time of many cores is not at hand. */
  readonly level?: number;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of the NAR, as they come. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

export interface ComposedNar extends IntakenNar {
  readonly narHash: Hash;
  readonly narSizeBytes: number;
}

/**
 * Makes a NAR file of a path that no cache has: compresses and hashes in one pass. Nothing is left behind when it fails.
 * Throws `no-space`, the signal's reason, and the errors of the source.
 */
export async function composeNar(composition: NarComposition): Promise<ComposedNar> {
  const { mirror, nar, level = 3, signal, onBytes } = composition;
  const file = join(privateLayout(mirror.directory).tempFolder, `compose-${randomBytes(12).toString('hex')}`);
  const narDigest = createHash('sha256');
  const fileDigest = createHash('sha256');
  let narSizeBytes = 0;
  async function* hashed(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of nar) {
      narDigest.update(chunk);
      narSizeBytes += chunk.length;
      onBytes?.(chunk.length);
      yield chunk;
    }
  }
  try {
    await using output = new PartialFile(file, 0);
    for await (const chunk of compressZstd(hashed(), { level, signal })) {
      fileDigest.update(chunk);
      await output.append(chunk);
    }
    await output.finish();
    const fileHash = hashFromDigest('sha256', fileDigest.digest());
    return {
      file,
      fileHash,
      fileSizeBytes: output.sizeBytes,
      compression: 'zstd',
      url: narName(hashDigest(fileHash), 'zstd'),
      narHash: hashFromDigest('sha256', narDigest.digest()),
      narSizeBytes,
    };
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  }
}
