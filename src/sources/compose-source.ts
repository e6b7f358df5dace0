import type { Mirror } from '../mirror/mirror.ts';
import { type ComposedNar, composeNar } from '../mirror/nar-compose.ts';
import { withIntakenNar } from '../mirror/nar-intake.ts';
import type { PublishCandidate } from '../mirror/publish.ts';
import { formatContentAddress, type NarInfo, type StorePath } from '../nix/index.ts';
import { ContentProof, proven } from './content-proof.ts';
import type { FixedSource } from './fixed-source.ts';

export interface SourceComposition {
  readonly mirror: Mirror;
  readonly source: FixedSource;
  /** What may be it, as a NAR. */
  readonly nar: AsyncIterable<Uint8Array>;
  /** Only what a builder made can have any. */
  readonly references?: readonly StorePath[];
  readonly signal: AbortSignal;
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Makes a NAR file of what may be the source, ready to be published with its `CA:`, if it is what the derivation declares.
 * @throws WrongContents when it is not; nothing is left behind then. NixFormatError for a NAR that is none, `no-space`, and what the bytes throw.
 */
export async function composeSource(composition: SourceComposition): Promise<PublishCandidate> {
  const { mirror, source, nar, references = [], signal, onBytes } = composition;
  const { address } = source;
  // An address of a kind that only later Nix knows cannot be checked here; the Nix that built it has done so.
  const checked = address.method === 'unknown' ? nar : proven(nar, new ContentProof(address));
  const composed = await composeNar({ mirror, nar: checked, signal, onBytes });
  return { info: withIntakenNar(describe(source, composed, references), composed), narFile: composed.file };
}

function describe(source: FixedSource, composed: ComposedNar, references: readonly StorePath[]): NarInfo {
  const { storePath, drvPath, address } = source;
  const { url, compression, narHash, narSizeBytes } = composed;
  return {
    storePath,
    url,
    compression,
    narHash,
    narSizeBytes,
    references,
    deriver: drvPath,
    signatures: [],
    ...(address.method === 'unknown' ? {} : { contentAddress: formatContentAddress(address) }),
  };
}
