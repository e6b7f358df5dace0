// Branches and tags of a git repository as its hosts list them: `info/refs`, a line `<40 digits>\t<name>` each, and after an annotated tag the commit
// that it leads to, as `<40 digits>\t<name>^{}` (gitrepository-layout, gitprotocol-http).

import { LIMITS } from './limits.ts';

export interface GitRef {
  /** `refs/heads/main`, `refs/tags/v1` */
  readonly name: string;
  readonly id: string;
  /** Of an annotated tag: what it leads to. */
  readonly peeled?: string;
}

/**
 * Branches and tags in the order of their names; other refs, and what is not a name that git allows, are passed over. Undefined for what is no such list: a line
 * of another form, an object id of another length than sha1 has, more than LIMITS.gitRefs.
 */
export function parseGitRefs(text: string): GitRef[] | undefined {
  const refs = new Map<string, GitRef>();
  let lines = 0;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    lines += 1;
    const [, id = '', listed = ''] = LINE.exec(line) ?? [];
    if (id === '' || lines > LIMITS.gitRefs) return undefined;
    const name = listed.endsWith(PEELED) ? listed.slice(0, -PEELED.length) : listed;
    if (!isCarriedRef(name)) continue;
    const known = refs.get(name);
    if (name === listed) refs.set(name, { name, id });
    else if (known !== undefined) refs.set(name, { ...known, peeled: id });
  }
  return [...refs.values()].toSorted((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
}

/** For whom fetches file by file. */
export function formatInfoRefs(refs: readonly GitRef[]): string {
  return refs
    .map(({ name, id, peeled }) => `${id}\t${name}\n${peeled === undefined ? '' : `${peeled}\t${name}${PEELED}\n`}`)
    .join('');
}

/** For git itself: the refs of a repository in one file. */
export function formatPackedRefs(refs: readonly GitRef[]): string {
  const lines = refs.map(({ name, id, peeled }) => `${id} ${name}\n${peeled === undefined ? '' : `^${peeled}\n`}`);
  return `# pack-refs with: peeled fully-peeled sorted \n${lines.join('')}`;
}

/** The head of a git bundle that has these refs; a pack follows it. It wants the commits of `before` to be there. (gitformat-bundle) */
export function formatBundleHead(refs: readonly GitRef[], before: readonly string[]): string {
  const wants = [...new Set(before)].toSorted().map((id) => `-${id} \n`);
  return `# v2 git bundle\n${wants.join('')}${refs.map(({ name, id }) => `${id} ${name}\n`).join('')}\n`;
}

/** A branch or a tag, by a name that git allows (git-check-ref-format). */
export function isCarriedRef(name: string): boolean {
  if (!/^refs\/(?:heads|tags)\/./.test(name) || Buffer.byteLength(name) > 1000) return false;
  if (FORBIDDEN.test(name) || name.endsWith('.') || name.endsWith('/')) return false;
  return name.split('/').every((part) => part !== '' && !part.startsWith('.') && !part.endsWith('.lock'));
}

/** The two lists say the same. */
export function areSameRefs(some: readonly GitRef[], others: readonly GitRef[]): boolean {
  return formatInfoRefs(some) === formatInfoRefs(others);
}

const PEELED = '^{}';
const LINE = /^([0-9a-f]{40})[\t ](\S.*)$/;
const FORBIDDEN = /[\p{Cc} ~^:?*[\\]|\.\.|@\{|\uFFFD/u;
