import type { OnProgress } from '../base/progress.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { PublicKey } from '../nix/index.ts';
import type { WalkedLine } from './inventory-walk.ts';
import type { MediumReader } from './medium-reader.ts';
import type { WaitingFiles } from './waiting-files.ts';

/** Something of the stream that could not be taken in, and why. */
export interface ImportFailure {
  /**
   * `missing-volume` and `damage`: the medium is to blame. `not-trusted`: the proof of origin that was asked for is lacking. `refused`: the mirror
   * holds something else under that name. `reference`: the path is good, but one that it refers to could not be taken in. `need`: the same, for one
   * that the shipment does not bring, for the sender believes it to be here.
   */
  readonly kind: 'missing-volume' | 'damage' | 'not-trusted' | 'refused' | 'reference' | 'need';
  /** The file name of the volume (or of several, joined by "and") that it lies in; empty where the medium is not to blame. */
  readonly volumes: string;
  /** Its name in the tar stream. */
  readonly member: string;
  /** Base name of the path that the site does not get because of it; undefined for what belongs to no path. */
  readonly path?: string;
  /** Name of the small file, a realisation or a listing, that the mirror does not get because of it. */
  readonly file?: string;
  readonly reason: string;
  /** Of a missing volume: whether others, which are there, hold a part of the path; both are needed at the same time. */
  readonly isSplit?: boolean;
}

/** What taking in a stream needs. */
export interface StreamImport {
  readonly mirror: Mirror;
  readonly storeDir: string;
  readonly reader: MediumReader;
  /** The inventory, checked, from a copy that nobody else can change. */
  readonly lines: AsyncIterable<WalkedLine>;
  /** By position among the paths of the inventory: whether the mirror has the path. What is taken in is marked. */
  readonly present: Uint8Array;
  /** The same for its small files. */
  readonly presentFiles: Uint8Array;
  readonly waitingFiles: WaitingFiles;
  /** Base names of paths that the shipment builds on and the mirror lacks. */
  readonly missingNeeds: readonly { readonly path: string }[];
  /** Where given, a path needs a signature by one of these or a content address that holds. */
  readonly originKeys: readonly PublicKey[] | undefined;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal | undefined;
}
