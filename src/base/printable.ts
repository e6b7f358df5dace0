/**
 * A text of unknown origin as one line for a terminal or a page: what would steer a terminal, turn the direction of writing or be invisible
 * becomes `\u{…}`, so that nothing looks like something else. Letters of all scripts stay.
 */
export function printable(text: string): string {
  return UNPRINTABLE.test(text) ? text.replaceAll(UNPRINTABLE_ALL, escapeCharacter) : text;
}

/** `printable`, cut to at most `maxCharacters`; what is left out is counted. */
export function printableUpTo(text: string, maxCharacters: number): string {
  if (text.length <= maxCharacters) return printable(text);
  // A pair must not be cut in two; half of one is escaped, not printed.
  return `${printable(text.slice(0, maxCharacters))}… (${text.length - maxCharacters} more characters)`;
}

// Cc, Cf, Cs, Co, Cn: controls, invisible and direction-turning marks, lone surrogates, private and unassigned ones. Zl, Zp: line ends.
// Zs but the plain space: blanks that look like it. Combining marks that pile up stay: they cannot hide anything.
const CLASS = '[[\\p{C}\\p{Zl}\\p{Zp}\\p{Zs}]--[ ]]';
const UNPRINTABLE = new RegExp(CLASS, 'v');
const UNPRINTABLE_ALL = new RegExp(CLASS, 'gv');

function escapeCharacter(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}
