// src/mirror is the mirror directory: what is visible to clients (storage), what is derived from it (index), and the private state
// beside it. It knows nothing of networks, shipments or the command line. This file is the seam below which bytes are kept:
// files now, an object store later. What every storage owes is written as tests in storage-conformance.ts.
import type { Readable } from 'node:stream';
import { NixferryError } from '../base/errors.ts';

export interface StoredFile {
  readonly sizeBytes: number;
  /** Milliseconds since 1970 with whatever fraction the storage keeps; only good for comparing. */
  readonly modifiedMs: number;
}

export interface StoredContents extends StoredFile {
  readonly bytes: Buffer;
}

/** First and last byte wanted, both counted from 0 and both included. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export interface NamedBytes {
  readonly name: string;
  readonly bytes: string | Uint8Array;
}

export interface AdoptedFile {
  /** A finished local file; it is moved, not copied, where the file system allows it. */
  readonly file: string;
  readonly name: string;
}

/**
 * Named files, written once as a whole and then only replaced or removed. A name is a relative path with `/` between its parts;
 * `checkStorageName` says which are allowed, and every method throws `not-a-mirror` for others.
 */
export interface Storage {
  /** The whole contents, or undefined when there is no such file. Throws `damage` when it is larger than any file to be read whole. */
  read(name: string): Promise<Buffer | undefined>;
  stat(name: string): Promise<StoredFile | undefined>;
  /** As `read` and `stat`, for all narinfos of a large mirror: much faster than one by one, in the order of the names. */
  readMany(names: readonly string[]): Promise<readonly (StoredContents | undefined)[]>;
  statMany(names: readonly string[]): Promise<readonly (StoredFile | undefined)[]>;
  /** The contents as a stream; a range beyond the end is cut there. `sizeBytes` is always that of the whole file. */
  open(name: string, range?: ByteRange): Promise<{ sizeBytes: number; stream: Readable } | undefined>;
  /** Puts a file in place: readers see the old one or the whole new one, and when this returns a power cut cannot undo it. */
  write(name: string, bytes: string | Uint8Array): Promise<void>;
  /** As `write`, for many files: nothing of a group is visible or durable before all groups ahead of it are. */
  writeInOrder(groups: Iterable<readonly NamedBytes[]>): Promise<void>;
  /** Moves a finished local file into place, as atomic and durable as `write`. */
  adopt(file: string, name: string): Promise<void>;
  /** As `adopt` for many files, in no order; all are durable when this returns. */
  adoptMany(files: readonly AdoptedFile[]): Promise<void>;
  /** Moves a file out, to a local file in a folder that exists: the way back from `adopt`. One that is not there is no error. */
  release(name: string, file: string): Promise<void>;
  /** Removes a file; one that is not there is no error. */
  remove(name: string): Promise<void>;
  /** Durably removes many files, in the order of the groups, as `writeInOrder` writes. */
  removeInOrder(groups: Iterable<readonly string[]>): Promise<void>;
  /** The names that begin with `prefix`, in no order; `shallow` leaves out those with a further `/` after it. */
  list(prefix: string, options?: { readonly shallow?: boolean }): AsyncIterable<string>;
  /**
   * A text that changes when a file without `/` in its name is added, replaced or removed, though changes within a tick of the file system's
   * clock (some milliseconds) may count as one; undefined when the storage cannot tell.
   */
  changeToken(): Promise<string | undefined>;
}

const NAME_PART = /^[^./\\\p{Cc}][^/\\\p{Cc}]*$/u;
const MAX_NAME_BYTES = 1024;
const MAX_PART_BYTES = 255;

/** Whether a name may be used: no part is empty or begins with a dot (that is private), none climbs, none holds control characters. */
export function isStorageName(name: string): boolean {
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return false;
  return name.split('/').every((part) => NAME_PART.test(part) && Buffer.byteLength(part) <= MAX_PART_BYTES);
}

/** Gives the name back, or throws `not-a-mirror`: a name that comes from outside must never lead out of the mirror. */
export function checkStorageName(name: string): string {
  if (!isStorageName(name)) {
    throw new NixferryError('not-a-mirror', `${JSON.stringify(name)} cannot be the name of a file in a mirror`);
  }
  return name;
}
