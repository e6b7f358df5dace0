import {
  NAR_LIMITS,
  NAR_WORDS,
  type NarLimits,
  type NarPath,
  narError,
  narNameProblem,
  narOrderProblem,
  narTargetProblem,
} from './nar-format.ts';
import { INCOMPLETE, NarLexer } from './nar-lexer.ts';

export interface NarDirectory {
  readonly path: NarPath;
}

export interface NarRegular {
  readonly path: NarPath;
  readonly executable: boolean;
  readonly sizeBytes: number;
  /** Where the contents begin in the NAR. */
  readonly narOffset: number;
}

export interface NarSymlink {
  readonly path: NarPath;
  readonly target: Buffer;
}

/** Called in the order of the NAR. A directory's nodes come between `directory` and `endDirectory`. */
export interface NarVisitor {
  directory?(directory: NarDirectory): void;
  endDirectory?(): void;
  regular?(file: NarRegular): void;
  /** A piece of the current file, never empty; a view into the pushed chunk, whose owner may reuse it after the call. */
  contents?(chunk: Uint8Array): void;
  endRegular?(): void;
  symlink?(link: NarSymlink): void;
}

/**
 * Reads a NAR that is pushed in chunks of any size, and calls the visitor. Throws `NixFormatError` with the offset for anything but a
 * canonical NAR; the parser is then of no more use.
 */
export class NarParser {
  readonly #visitor: NarVisitor;
  readonly #limits: NarLimits;
  readonly #lexer = new NarLexer();
  readonly #step = (): boolean => this.#takeOne();
  /** What must come next. */
  #state: State = 'magic word';
  /** The innermost directory that has not ended, and the path of the node that is being read. */
  #directory: OpenDirectory | undefined;
  #path: NarPath = [];
  #entries = 0;
  #executable = false;
  #sizeBytes = 0;
  #leftBytes = 0;

  constructor(visitor: NarVisitor, limits: NarLimits = NAR_LIMITS) {
    this.#visitor = visitor;
    this.#limits = limits;
  }

  push(chunk: Uint8Array): void {
    this.#lexer.feed(chunk, this.#step);
  }

  /** Says that nothing follows; throws unless the NAR is complete. */
  end(): void {
    if (this.#state !== 'end') throw narError(`it is cut short in or before its ${this.#state}`, this.#position);
  }

  /** Takes one word or value; false when more bytes are needed for it. */
  #takeOne(): boolean {
    switch (this.#state) {
      case 'magic word':
        return this.#word(NAR_WORDS.magic, 'node');
      case 'node':
        return this.#word(NAR_WORDS.nodeOpen, 'type');
      case 'type':
        return this.#type();
      case 'executable mark or contents':
        return this.#executableOrContents();
      case 'contents word':
        return this.#word(NAR_WORDS.contents, 'file size');
      case 'file size':
        return this.#fileSize();
      case 'contents':
        return this.#contents();
      case 'end of contents':
        return this.#lexer.padding(this.#sizeBytes) && this.#endRegular();
      case 'target word':
        return this.#word(NAR_WORDS.target, 'target');
      case 'target':
        return this.#target();
      case 'end of node':
        return this.#endOfNode();
      case 'entry or end of directory':
        return this.#entryOrEnd();
      case 'name':
        return this.#name();
      case 'node of an entry':
        return this.#word(NAR_WORDS.entryNode, 'node');
      case 'end of entry':
        return this.#word(NAR_WORDS.close, 'entry or end of directory');
      case 'end':
        throw narError('bytes follow its end', this.#position);
    }
  }

  #word(word: Uint8Array, next: State): boolean {
    if (!this.#lexer.word(word)) return false;
    this.#state = next;
    return true;
  }

  #type(): boolean {
    switch (this.#lexer.peekLetter()) {
      case INCOMPLETE:
        return false;
      case LETTER_D:
        return this.#word(NAR_WORDS.directory, 'entry or end of directory') && this.#openDirectory();
      case LETTER_S:
        return this.#word(NAR_WORDS.symlink, 'target word');
      default:
        this.#executable = false;
        return this.#word(NAR_WORDS.regular, 'executable mark or contents');
    }
  }

  #openDirectory(): boolean {
    const depth = (this.#directory?.depth ?? 0) + 1;
    if (depth > this.#limits.depth) throw narError(`directories more than ${this.#limits.depth} deep`, this.#position);
    this.#directory = { path: this.#path, parent: this.#directory, depth, lastName: undefined };
    this.#visitor.directory?.({ path: this.#path });
    return true;
  }

  #executableOrContents(): boolean {
    switch (this.#lexer.peekLetter()) {
      case INCOMPLETE:
        return false;
      case LETTER_E:
        this.#executable = true;
        return this.#word(NAR_WORDS.executable, 'contents word');
      default:
        return this.#word(NAR_WORDS.contents, 'file size');
    }
  }

  #fileSize(): boolean {
    const sizeBytes = this.#lexer.length();
    if (sizeBytes === INCOMPLETE) return false;
    this.#sizeBytes = sizeBytes;
    this.#leftBytes = sizeBytes;
    const narOffset = this.#position;
    this.#visitor.regular?.({ path: this.#path, executable: this.#executable, sizeBytes, narOffset });
    // An empty file needs no byte more to be complete: the next word comes at once.
    this.#state = sizeBytes === 0 ? 'end of contents' : 'contents';
    return true;
  }

  #contents(): boolean {
    const piece = this.#lexer.piece(this.#leftBytes);
    this.#leftBytes -= piece.length;
    if (this.#leftBytes === 0) this.#state = 'end of contents';
    this.#visitor.contents?.(piece);
    return true;
  }

  #endRegular(): boolean {
    this.#state = 'end of node';
    this.#visitor.endRegular?.();
    return true;
  }

  #target(): boolean {
    const target = this.#lexer.string(this.#limits.targetBytes, 'symlink target');
    if (target === undefined) return false;
    const problem = narTargetProblem(target, this.#limits);
    if (problem !== undefined) throw narError(problem, this.#position);
    this.#visitor.symlink?.({ path: this.#path, target: Buffer.from(target) });
    this.#state = 'end of node';
    return true;
  }

  #entryOrEnd(): boolean {
    switch (this.#lexer.peekLetter()) {
      case INCOMPLETE:
        return false;
      case LETTER_E:
        return this.#word(NAR_WORDS.entryOpen, 'name');
      default:
        return this.#endOfNode() && this.#endDirectory();
    }
  }

  #name(): boolean {
    const directory = this.#directory;
    const name = this.#lexer.string(this.#limits.nameBytes, 'name');
    if (name === undefined || directory === undefined) return false;
    const problem = narNameProblem(name, this.#limits) ?? narOrderProblem(directory.lastName, name);
    if (problem !== undefined) throw narError(problem, this.#position);
    this.#entries += 1;
    if (this.#entries > this.#limits.entries)
      throw narError(`more than ${this.#limits.entries} entries`, this.#position);
    directory.lastName = Buffer.from(name);
    this.#path = [...directory.path, directory.lastName];
    this.#state = 'node of an entry';
    return true;
  }

  #endDirectory(): boolean {
    this.#directory = this.#directory?.parent;
    this.#visitor.endDirectory?.();
    this.#state = this.#directory === undefined ? 'end' : 'end of entry';
    return true;
  }

  #endOfNode(): boolean {
    return this.#word(NAR_WORDS.close, this.#directory === undefined ? 'end' : 'end of entry');
  }

  get #position(): number {
    return this.#lexer.position;
  }
}

export type NarEvent =
  | ({ readonly type: 'directory' } & NarDirectory)
  | { readonly type: 'endDirectory' }
  | ({ readonly type: 'regular' } & NarRegular)
  /** A piece of the file that was last announced. */
  | { readonly type: 'contents'; readonly chunk: Uint8Array }
  | { readonly type: 'endRegular' }
  | ({ readonly type: 'symlink' } & NarSymlink);

/** Reads a NAR as fast as its events are consumed. Throws `NixFormatError` for anything but a canonical NAR, at the latest after the last event. */
export async function* readNar(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  limits: NarLimits = NAR_LIMITS,
): AsyncGenerator<NarEvent, void, undefined> {
  let events: NarEvent[] = [];
  const parser = new NarParser(
    {
      directory: (directory) => events.push({ type: 'directory', ...directory }),
      endDirectory: () => events.push({ type: 'endDirectory' }),
      regular: (file) => events.push({ type: 'regular', ...file }),
      contents: (chunk) => events.push({ type: 'contents', chunk }),
      endRegular: () => events.push({ type: 'endRegular' }),
      symlink: (link) => events.push({ type: 'symlink', ...link }),
    },
    limits,
  );
  for await (const chunk of source) {
    for (let start = 0; start < chunk.length; start += STEP_BYTES) {
      parser.push(chunk.subarray(start, start + STEP_BYTES));
      const batch = events;
      events = [];
      yield* batch;
    }
  }
  parser.end();
}

// Bounds the events that are gathered between two yields, whatever the size of the chunks.
const STEP_BYTES = 256 * 1024;
const LETTER_D = 0x64;
const LETTER_E = 0x65;
const LETTER_S = 0x73;

type State =
  | 'magic word'
  | 'node'
  | 'type'
  | 'executable mark or contents'
  | 'contents word'
  | 'file size'
  | 'contents'
  | 'end of contents'
  | 'target word'
  | 'target'
  | 'entry or end of directory'
  | 'name'
  | 'node of an entry'
  | 'end of node'
  | 'end of entry'
  | 'end';

interface OpenDirectory {
  readonly path: NarPath;
  readonly parent: OpenDirectory | undefined;
  readonly depth: number;
  lastName: Buffer | undefined;
}
