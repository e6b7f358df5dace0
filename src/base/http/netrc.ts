/** Name and password for one host; `machine` is undefined for the `default` entry. */
export interface NetrcEntry {
  readonly machine: string | undefined;
  readonly login: string;
  readonly password: string;
}

/**
 * Parses a netrc file as curl does: words separated by white space, a word may stand in double quotes with `\` as
 * escape, `macdef` runs to the next blank line, `#` begins a comment where a keyword is expected. Unknown words are
 * skipped. Never throws: what is half an entry counts with an empty login or password.
 */
export function parseNetrc(text: string): NetrcEntry[] {
  const words = splitWords(withoutMacros(text));
  const entries: { machine: string | undefined; login: string; password: string }[] = [];
  for (let position = 0; position < words.length; position++) {
    const keyword = words[position];
    if (keyword === 'default') {
      entries.push({ machine: undefined, login: '', password: '' });
      continue;
    }
    if (keyword !== 'machine' && keyword !== 'login' && keyword !== 'password' && keyword !== 'account') continue;
    const value = words[++position];
    if (value === undefined) break;
    if (keyword === 'machine') entries.push({ machine: value.toLowerCase(), login: '', password: '' });
    const entry = entries.at(-1);
    if (entry === undefined) continue;
    if (keyword === 'login') entry.login = value;
    if (keyword === 'password') entry.password = value;
  }
  return entries;
}

export interface NetrcQuery {
  readonly hostname: string;
  /** When the URL names a user, only that user's password will do. */
  readonly login?: string | undefined;
  /** Whether the `default` entry may speak for this host. */
  readonly allowDefault: boolean;
}

/** The first entry for the host; the `default` entry only when no entry names the host. */
export function findNetrcEntry(entries: readonly NetrcEntry[], query: NetrcQuery): NetrcEntry | undefined {
  const hostname = query.hostname.toLowerCase();
  const fits = (entry: NetrcEntry): boolean => query.login === undefined || entry.login === query.login;
  const named = entries.filter((entry) => entry.machine === hostname);
  if (named.length > 0) return named.find(fits);
  if (!query.allowDefault) return undefined;
  return entries.find((entry) => entry.machine === undefined && fits(entry));
}

function withoutMacros(text: string): string {
  return text.replaceAll('\r\n', '\n').replace(/^[ \t]*macdef\b[\s\S]*?(?:\n[ \t]*\n|$(?![\s\S]))/gm, '\n');
}

function splitWords(text: string): string[] {
  const words: string[] = [];
  const pattern = /#[^\n]*|"((?:[^"\\]|\\[\s\S])*)"?|(\S+)/g;
  let expectsValue = false;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    const [whole, quoted] = match;
    if (whole.startsWith('#') && !expectsValue) continue;
    if (whole.startsWith('#')) {
      // A password may begin with `#`: as a value only the one word counts.
      const word = /^\S+/.exec(whole)?.[0] ?? whole;
      pattern.lastIndex = match.index + word.length;
      words.push(word);
    } else {
      words.push(quoted === undefined ? whole : quoted.replaceAll(/\\([\s\S])/g, unescapeQuoted));
    }
    expectsValue = !expectsValue && KEYWORDS_WITH_VALUE.has(words.at(-1) ?? '');
  }
  return words;
}

const KEYWORDS_WITH_VALUE: ReadonlySet<string> = new Set(['machine', 'login', 'password', 'account']);

function unescapeQuoted(_whole: string, character: string): string {
  if (character === 'n') return '\n';
  if (character === 'r') return '\r';
  if (character === 't') return '\t';
  return character;
}
