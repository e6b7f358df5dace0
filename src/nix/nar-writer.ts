import {
  NAR_LIMITS,
  NAR_WORDS,
  type NarLimits,
  narError,
  narNameProblem,
  narOrderProblem,
  narTargetProblem,
} from './nar-format.ts';
import { NarOutput } from './nar-output.ts';

/** A file tree to be written as a NAR; contents and entries are asked for when their turn comes, and only once. */
export type NarNode = NarRegularNode | NarSymlinkNode | NarDirectoryNode;

export interface NarRegularNode {
  readonly type: 'regular';
  readonly executable: boolean;
  readonly sizeBytes: number;
  contents(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface NarSymlinkNode {
  readonly type: 'symlink';
  readonly target: Uint8Array;
}

export type NarDirectoryEntry = readonly [name: Uint8Array, node: NarNode];

export interface NarDirectoryNode {
  readonly type: 'directory';
  /** Sorted by the bytes of the names, as a NAR has them. */
  entries(): AsyncIterable<NarDirectoryEntry> | Iterable<NarDirectoryEntry>;
}

/**
 * The bytes of the NAR of a tree, as fast as they are consumed. Throws `NixFormatError` for names and targets that no NAR may hold, names out of
 * order, and files whose contents are not as long as announced; errors of the tree itself come through.
 */
export async function* writeNar(
  root: NarNode,
  limits: NarLimits = NAR_LIMITS,
): AsyncGenerator<Buffer, void, undefined> {
  const output = new NarOutput();
  // Directories are a list rather than a recursion: each level of generators would pass on every chunk once more.
  const open: OpenDirectory[] = [];
  output.bytes(NAR_WORDS.magic);
  try {
    for (let node: NarNode | undefined = root; node !== undefined; node = await nextNode(output, open, limits)) {
      output.bytes(NAR_WORDS.nodeOpen);
      if (node.type === 'directory') {
        openDirectory(output, open, node, limits);
      } else {
        if (node.type === 'symlink') writeSymlink(output, node, limits);
        else yield* writeRegular(output, node);
        closeNode(output, open);
      }
      if (output.full) yield output.take();
    }
  } finally {
    for (const { entries } of open.toReversed()) await entries.return?.();
  }
  yield output.take();
}

interface OpenDirectory {
  readonly entries: AsyncIterator<NarDirectoryEntry> | Iterator<NarDirectoryEntry>;
  lastName: Uint8Array | undefined;
}

// Pieces from this size on are passed on without a copy.
const LARGE_PIECE_BYTES = 16 * 1024;

function openDirectory(output: NarOutput, open: OpenDirectory[], node: NarDirectoryNode, limits: NarLimits): void {
  if (open.length >= limits.depth) throw narError(`directories more than ${limits.depth} deep`);
  output.bytes(NAR_WORDS.directory);
  const entries = node.entries();
  const iterator = Symbol.asyncIterator in entries ? entries[Symbol.asyncIterator]() : entries[Symbol.iterator]();
  open.push({ entries: iterator, lastName: undefined });
}

/** Begins the next entry of the innermost directory that has one, ending those that have not; undefined when all have ended. */
async function nextNode(output: NarOutput, open: OpenDirectory[], limits: NarLimits): Promise<NarNode | undefined> {
  for (let directory = open.at(-1); directory !== undefined; directory = open.at(-1)) {
    const next = await directory.entries.next();
    if (next.done !== true) {
      const [name, node] = next.value;
      const problem = narNameProblem(name, limits) ?? narOrderProblem(directory.lastName, name);
      if (problem !== undefined) throw narError(`the tree to be written has ${problem}`);
      directory.lastName = name;
      output.bytes(NAR_WORDS.entryOpen);
      output.string(name);
      output.bytes(NAR_WORDS.entryNode);
      return node;
    }
    open.pop();
    closeNode(output, open);
  }
  return undefined;
}

function closeNode(output: NarOutput, open: readonly OpenDirectory[]): void {
  output.bytes(NAR_WORDS.close);
  const isEntry = open.length > 0;
  if (isEntry) output.bytes(NAR_WORDS.close);
}

function writeSymlink(output: NarOutput, node: NarSymlinkNode, limits: NarLimits): void {
  const problem = narTargetProblem(node.target, limits);
  if (problem !== undefined) throw narError(`the tree to be written has ${problem}`);
  output.bytes(NAR_WORDS.symlink);
  output.bytes(NAR_WORDS.target);
  output.string(node.target);
}

async function* writeRegular(output: NarOutput, node: NarRegularNode): AsyncGenerator<Buffer, void, undefined> {
  output.bytes(NAR_WORDS.regular);
  if (node.executable) output.bytes(NAR_WORDS.executable);
  output.bytes(NAR_WORDS.contents);
  output.length(node.sizeBytes);
  let writtenBytes = 0;
  for await (const piece of node.contents()) {
    writtenBytes += piece.length;
    if (writtenBytes > node.sizeBytes) throw narError(`a file is longer than the ${node.sizeBytes} bytes announced`);
    if (piece.length < LARGE_PIECE_BYTES) {
      output.bytes(piece);
      if (output.full) yield output.take();
    } else {
      if (!output.empty) yield output.take();
      yield Buffer.from(piece.buffer, piece.byteOffset, piece.length);
    }
  }
  if (writtenBytes < node.sizeBytes) {
    throw narError(`a file of ${node.sizeBytes} bytes announced ends after ${writtenBytes}`);
  }
  output.padding(node.sizeBytes);
}
