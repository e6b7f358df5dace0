// src/nix: Nix's own formats as pure functions on bytes and text. It knows no files, no network, no clock, and imports
// only itself and node:crypto, so that anybody can use it alone (`nixferry/nix`).

/** Everything that this folder throws about data: which format, what was found or expected, and where. */
export class NixFormatError extends Error {
  override readonly name = 'NixFormatError';
  /** The format that was read, in words: `narinfo`, `hash`, `derivation`. */
  readonly format: string;
  /** Offset in the parsed text or bytes, counted from 0, where that helps. */
  readonly position: number | undefined;

  constructor(format: string, problem: string, position?: number) {
    super(position === undefined ? `${format}: ${problem}` : `${format}, offset ${position}: ${problem}`);
    this.format = format;
    this.position = position;
  }
}

/** Quotes foreign text for a message: control characters escaped, long text shortened, so that a terminal stays safe. */
export function quoteForMessage(text: string): string {
  const shown = text.length > QUOTE_LENGTH ? `${text.slice(0, QUOTE_LENGTH)}…` : text;
  return JSON.stringify(shown).replace(/[\u007f-\u009f]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

const QUOTE_LENGTH = 120;
