import { NixFormatError, quoteForMessage } from './format-error.ts';
import { NAR_LIMITS, type NarLimits, narNameProblem, narTargetProblem } from './nar-format.ts';
import { NarParser, type NarVisitor } from './nar-reader.ts';

/** What a NAR holds and where, as in the `.ls` file beside a narinfo. Names and targets are text there: it is JSON. */
export type NarListing = NarListingRegular | NarListingSymlink | NarListingDirectory;

export interface NarListingRegular {
  readonly type: 'regular';
  readonly sizeBytes: number;
  readonly executable: boolean;
  /** Where the contents begin in the uncompressed NAR; a listing read from elsewhere may lack it. */
  readonly narOffset?: number | undefined;
}

export interface NarListingSymlink {
  readonly type: 'symlink';
  readonly target: string;
}

export interface NarListingDirectory {
  readonly type: 'directory';
  /** In the order of the NAR: by the bytes of the names. */
  readonly entries: ReadonlyMap<string, NarListing>;
}

/** A listing is held in memory whole, so it may have fewer entries than a NAR that is only passed on. */
export const NAR_LISTING_LIMITS: NarLimits & { readonly jsonBytes: number } = {
  ...NAR_LIMITS,
  entries: 1_000_000,
  jsonBytes: 256 * 1024 * 1024,
};

/**
 * Reads a NAR and lists it. Throws `NixFormatError` for anything but a canonical NAR, and for names that are not UTF-8, which a listing cannot say.
 */
export async function narListing(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  limits: NarLimits = NAR_LISTING_LIMITS,
): Promise<NarListing> {
  const builder = new NarListingBuilder();
  const parser = new NarParser(builder, limits);
  for await (const chunk of source) parser.push(chunk);
  parser.end();
  return builder.listing;
}

/** A visitor that lists a NAR while somebody else reads it. */
export class NarListingBuilder implements NarVisitor {
  readonly #open: Map<string, NarListing>[] = [];
  #root: NarListing | undefined;

  /** Complete once the parser has accepted the end. */
  get listing(): NarListing {
    if (this.#root === undefined) throw listingError('no NAR has been read');
    return this.#root;
  }

  directory({ path }: { readonly path: readonly Buffer[] }): void {
    const entries = new Map<string, NarListing>();
    this.#add(path, { type: 'directory', entries });
    this.#open.push(entries);
  }

  endDirectory(): void {
    this.#open.pop();
  }

  regular(file: { path: readonly Buffer[]; sizeBytes: number; executable: boolean; narOffset: number }): void {
    const { path, sizeBytes, executable, narOffset } = file;
    this.#add(path, { type: 'regular', sizeBytes, executable, narOffset });
  }

  symlink({ path, target }: { readonly path: readonly Buffer[]; readonly target: Buffer }): void {
    this.#add(path, { type: 'symlink', target: decodeText(target) });
  }

  #add(path: readonly Buffer[], listing: NarListing): void {
    const name = path.at(-1);
    if (name === undefined) this.#root = listing;
    else this.#open.at(-1)?.set(decodeText(name), listing);
  }
}

/** The JSON of a `.ls` file, byte for byte as Nix 2.8 writes it (no line end; `executable` only when true). */
export function formatNarListing(listing: NarListing): string {
  const parts = ['{"version":1,"root":'];
  formatNode(parts, listing);
  parts.push('}');
  return parts.join('');
}

/** Reads a `.ls` file. Throws `NixFormatError` for what is none, or goes beyond the bounds. */
export function parseNarListing(json: Uint8Array | string, limits = NAR_LISTING_LIMITS): NarListing {
  if (json.length > limits.jsonBytes) throw listingError(`it is longer than ${limits.jsonBytes} bytes`);
  const document = parseJson(typeof json === 'string' ? json : decodeText(json));
  if (!isObject(document)) throw listingError('expected an object');
  if (document['version'] !== 1) throw listingError('expected "version" to be 1');
  const budget = { entries: limits.entries };
  return parseNode(document['root'], limits, budget, 0);
}

function formatNode(parts: string[], listing: NarListing): void {
  switch (listing.type) {
    case 'regular':
      parts.push(`{"type":"regular","size":${listing.sizeBytes}`);
      if (listing.executable) parts.push(',"executable":true');
      if (listing.narOffset !== undefined) parts.push(`,"narOffset":${listing.narOffset}`);
      break;
    case 'symlink':
      parts.push(`{"type":"symlink","target":${formatText(listing.target)}`);
      break;
    case 'directory':
      parts.push('{"type":"directory","entries":{');
      formatEntries(parts, listing.entries);
      parts.push('}');
      break;
  }
  parts.push('}');
}

function formatEntries(parts: string[], entries: ReadonlyMap<string, NarListing>): void {
  let separator = '';
  for (const [name, listing] of entries) {
    parts.push(`${separator}${formatText(name)}:`);
    formatNode(parts, listing);
    separator = ',';
  }
}

/** Like JSON.stringify, but Nix writes backspace and form feed by number. */
function formatText(text: string): string {
  return JSON.stringify(text).replace(/\\[\\bf]/g, (escape) => LONG_ESCAPES.get(escape) ?? escape);
}

const LONG_ESCAPES: ReadonlyMap<string, string> = new Map([
  ['\\b', '\\u0008'],
  ['\\f', '\\u000c'],
]);

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw listingError(error instanceof Error ? error.message : 'not JSON');
  }
}

function parseNode(node: unknown, limits: NarLimits, budget: { entries: number }, depth: number): NarListing {
  if (!isObject(node)) throw listingError('expected a node to be an object');
  switch (node['type']) {
    case 'regular':
      return parseRegular(node);
    case 'symlink':
      return { type: 'symlink', target: checkedTarget(node['target'], limits) };
    case 'directory':
      if (depth >= limits.depth) throw listingError(`directories more than ${limits.depth} deep`);
      return { type: 'directory', entries: parseEntries(node['entries'], limits, budget, depth + 1) };
    default:
      throw listingError('expected "type" to be regular, symlink or directory');
  }
}

function parseRegular(node: Readonly<Record<string, unknown>>): NarListingRegular {
  const { size, executable = false, narOffset } = node;
  if (!isCount(size)) throw listingError('expected "size" to be a number of bytes');
  if (typeof executable !== 'boolean') throw listingError('expected "executable" to be true or false');
  if (narOffset !== undefined && !isCount(narOffset))
    throw listingError('expected "narOffset" to be a number of bytes');
  return { type: 'regular', sizeBytes: size, executable, narOffset };
}

function parseEntries(
  entries: unknown,
  limits: NarLimits,
  budget: { entries: number },
  depth: number,
): Map<string, NarListing> {
  if (!isObject(entries)) throw listingError('expected "entries" to be an object');
  // JavaScript puts names that look like numbers first.
  const named = Object.entries(entries).map(([text, node]) => ({ text, bytes: Buffer.from(text), node }));
  named.sort((one, other) => Buffer.compare(one.bytes, other.bytes));
  budget.entries -= named.length;
  if (budget.entries < 0) throw listingError(`more than ${limits.entries} entries`);
  const parsed = new Map<string, NarListing>();
  for (const { text, bytes, node } of named) {
    const problem = narNameProblem(bytes, limits);
    if (problem !== undefined) throw listingError(problem);
    parsed.set(text, parseNode(node, limits, budget, depth));
  }
  return parsed;
}

function checkedTarget(target: unknown, limits: NarLimits): string {
  if (typeof target !== 'string') throw listingError('expected "target" to be text');
  const problem = narTargetProblem(Buffer.from(target), limits);
  if (problem !== undefined) throw listingError(problem);
  return target;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function decodeText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw listingError(`a name or target is not UTF-8: ${quoteForMessage(Buffer.from(bytes).toString('latin1'))}`);
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function listingError(problem: string): NixFormatError {
  return new NixFormatError('NAR listing', problem);
}
