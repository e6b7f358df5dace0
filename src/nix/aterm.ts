import { NixFormatError, quoteForMessage } from './format-error.ts';

/** Reads the terms that derivations are written in, from the front to the end of a text. */
export interface AtermReader {
  readonly text: string;
  position: number;
  /** The next backslash at or after some earlier position: kept, so that looking for it stays linear in the text. */
  nextBackslash: number;
}

export function openAterm(text: string): AtermReader {
  return { text, position: 0, nextBackslash: -1 };
}

/** @throws NixFormatError unless exactly `token` comes next. */
export function expectToken(reader: AtermReader, token: string): void {
  if (!skipToken(reader, token)) throw atermProblem(reader, `expected ${token}`);
}

export function skipToken(reader: AtermReader, token: string): boolean {
  if (!reader.text.startsWith(token, reader.position)) return false;
  reader.position += token.length;
  return true;
}

/** Reads a quoted string. A backslash makes n, r and t the control characters and stands for itself before any other. */
export function readQuoted(reader: AtermReader): string {
  expectToken(reader, '"');
  const { text } = reader;
  let start = reader.position;
  let read = '';
  let quote = -1;
  for (;;) {
    if (quote < reader.position) quote = text.indexOf('"', reader.position);
    if (quote === -1) throw atermProblem(reader, 'a string does not end');
    if (reader.nextBackslash < reader.position) {
      const found = text.indexOf('\\', reader.position);
      reader.nextBackslash = found === -1 ? text.length : found;
    }
    const backslash = reader.nextBackslash;
    if (quote < backslash) {
      reader.position = quote + 1;
      return read + text.slice(start, quote);
    }
    const escaped = text.charAt(backslash + 1);
    read += text.slice(start, backslash) + (UNESCAPED[escaped] ?? escaped);
    start = backslash + 2;
    reader.position = start;
  }
}

/** Reads `[a,b,…]`; `readItem` reads one item and stops before the comma. */
export function readList(reader: AtermReader, readItem: () => void): void {
  expectToken(reader, '[');
  if (skipToken(reader, ']')) return;
  do readItem();
  while (skipToken(reader, ','));
  expectToken(reader, ']');
}

/** Reads `("a","b",…)` of so many strings. */
export function readTuple(reader: AtermReader, size: number): string[] {
  expectToken(reader, '(');
  const strings: string[] = [];
  for (let index = 0; index < size; index++) {
    if (index > 0) expectToken(reader, ',');
    strings.push(readQuoted(reader));
  }
  expectToken(reader, ')');
  return strings;
}

/** Quotes a string as Nix does: only the five characters that need it are escaped. */
export function formatQuoted(text: string): string {
  return `"${text.replace(/[\\"\n\r\t]/g, (character) => ESCAPED[character] ?? character)}"`;
}

export function formatList(items: Iterable<string>): string {
  return `[${[...items].join(',')}]`;
}

/** An error that says what was wanted and what is there instead. */
export function atermProblem(reader: AtermReader, problem: string): NixFormatError {
  const found = quoteForMessage(reader.text.slice(reader.position, reader.position + FOUND_LENGTH));
  return new NixFormatError('derivation', `${problem}, found ${found}`, reader.position);
}

const FOUND_LENGTH = 24;
const UNESCAPED: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };
const ESCAPED: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '"': '\\"',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};
