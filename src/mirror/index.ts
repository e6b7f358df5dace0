import type { Hash } from '../nix/hash.ts';
import type { HashPart, StorePath } from '../nix/store-path.ts';
import type { IndexEntry } from './index-tables.ts';

/** What the index knows of one visible path; signatures and references stand in the narinfo alone, or in `references`. */
export interface IndexedPath {
  readonly hashPart: HashPart;
  readonly storePath: StorePath;
  readonly url: string;
  readonly compression: string;
  readonly fileHash: Hash | undefined;
  readonly fileSizeBytes: number | undefined;
  readonly narHash: Hash;
  readonly narSizeBytes: number;
  readonly deriver: StorePath | undefined;
  readonly contentAddress: string | undefined;
}

export interface IndexTotals {
  readonly paths: number;
  readonly narBytes: number;
  /** A NAR file that several paths share counts once; one of unknown size counts as its NAR. */
  readonly fileBytes: number;
}

export interface IndexedClosure {
  /** Sorted by hash part. */
  readonly paths: readonly IndexedPath[];
  /** Asked for, or referred to, but not visible here. */
  readonly missing: readonly HashPart[];
}

/** Answers about all visible paths at once. Derived from the narinfos: where the two differ, the narinfos are right. */
export interface MirrorIndex {
  has(hashPart: HashPart): Promise<boolean>;
  get(hashPart: HashPart): Promise<IndexedPath | undefined>;
  totals(): Promise<IndexTotals>;
  /** Everything reachable from the given paths, themselves included. */
  closure(hashParts: Iterable<HashPart>): Promise<IndexedClosure>;
  /** The visible paths that refer to this one, itself left out; sorted. */
  referrers(hashPart: HashPart): Promise<readonly HashPart[]>;
  references(hashPart: HashPart): Promise<readonly HashPart[]>;
  /** The visible paths that were built by a derivation; sorted. */
  outputsOf(deriver: StorePath): Promise<readonly StorePath[]>;
  /** How many visible paths have their contents in a NAR file. */
  usersOfNar(url: string): Promise<number>;
  /** What is addressed by the hash of a file, as sources are; sorted by hash part; nothing may be changed before it is at its end. */
  flatOutputs(): AsyncGenerator<IndexedPath, void, undefined>;
  /** All hash parts, sorted. */
  hashParts(): Promise<readonly HashPart[]>;
  /** Base name and NAR of each visible path, sorted by hash part; nothing may be changed before it is at its end. */
  names(): AsyncGenerator<{ readonly baseName: string; readonly url: string }, void, undefined>;
  /** Notes, durably, that narinfos are about to change: killed from here on, the next opening looks at the files. */
  expectChanges(): Promise<void>;
  /** Notes paths whose narinfos were just written; the storage was not changed by anything else meanwhile. */
  add(entries: readonly IndexEntry[]): Promise<void>;
  /** Notes paths whose narinfos were just removed. */
  drop(hashParts: readonly HashPart[]): Promise<void>;
  /** Reads everything anew; for `index --rebuild` and `verify`. */
  rebuild(): Promise<void>;
  /** Looks at the storage again; a reader that lives long calls it to see what a writer did since. */
  refresh(): Promise<void>;
  close(): Promise<void>;
}
