// A NAR is nothing but strings: 64-bit little-endian length, bytes, zeros up to a multiple of eight. Readers here accept the one
// canonical spelling that Nix writes (E. Dolstra, "The Purely Functional Software Deployment Model", figure 5.2), and no other.
import { NixFormatError } from './format-error.ts';

/** Bounds on one NAR. Nothing in reader or writer grows with the number or size of files; these keep the rest sane. */
export interface NarLimits {
  /** Nested directories. */
  readonly depth: number;
  /** Length of one name; Linux has no longer ones. */
  readonly nameBytes: number;
  /** Length of a symlink's target; Linux has no longer ones. */
  readonly targetBytes: number;
  /** Files, directories and symlinks together. */
  readonly entries: number;
}

export const NAR_LIMITS: NarLimits = { depth: 256, nameBytes: 255, targetBytes: 4095, entries: 16_000_000 };

/** The names that lead from the root to a node; the root's own path is empty. */
export type NarPath = readonly Buffer[];

/** A string as it stands in a NAR. */
export function narString(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  const encoded = Buffer.alloc(8 + bytes.length + narPaddingBytes(bytes.length));
  encoded.writeUInt32LE(bytes.length, 0);
  bytes.copy(encoded, 8);
  return encoded;
}

export function narPaddingBytes(lengthBytes: number): number {
  return (8 - (lengthBytes % 8)) % 8;
}

/** Runs of strings that always stand together; the grammar's words. */
export const NAR_WORDS = {
  magic: narString('nix-archive-1'),
  nodeOpen: words('(', 'type'),
  regular: words('regular'),
  directory: words('directory'),
  symlink: words('symlink'),
  executable: words('executable', ''),
  contents: words('contents'),
  target: words('target'),
  entryOpen: words('entry', '(', 'name'),
  entryNode: words('node'),
  close: words(')'),
} as const;

/** Why a name cannot stand in a directory, or undefined when it can. */
export function narNameProblem(name: Uint8Array, limits: NarLimits): string | undefined {
  const { length } = name;
  if (length === 0) return 'an empty name';
  if (length > limits.nameBytes) return `a name of ${length} bytes, more than ${limits.nameBytes}`;
  if (name[0] === DOT && (length === 1 || (length === 2 && name[1] === DOT))) return 'the name . or ..';
  for (let index = 0; index < length; index += 1) {
    const byte = name[index];
    if (byte === SLASH || byte === 0) return 'a name with a slash or a zero byte';
  }
  return undefined;
}

/** Why `name` cannot follow `before` in a directory, or undefined when it can. */
export function narOrderProblem(before: Uint8Array | undefined, name: Uint8Array): string | undefined {
  const order = before === undefined ? -1 : Buffer.compare(before, name);
  if (order < 0) return undefined;
  return order === 0 ? 'a name that stands twice in a directory' : 'names that are not sorted by their bytes';
}

/** Why a symlink cannot have this target, or undefined when it can. */
export function narTargetProblem(target: Uint8Array, limits: NarLimits): string | undefined {
  if (target.length === 0) return 'an empty symlink target';
  if (target.length > limits.targetBytes) {
    return `a symlink target of ${target.length} bytes, more than ${limits.targetBytes}`;
  }
  return target.includes(0) ? 'a symlink target with a zero byte' : undefined;
}

export function narError(problem: string, position?: number): NixFormatError {
  return new NixFormatError('NAR', problem, position);
}

const DOT = 0x2e;
const SLASH = 0x2f;

function words(...texts: string[]): Buffer {
  return Buffer.concat(texts.map((text) => narString(text)));
}
