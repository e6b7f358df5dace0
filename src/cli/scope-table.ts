import { formatBytes, formatCount, formatNumber } from '../base/amounts.ts';
import type { ReasonKind } from '../closure/scopes.ts';
import { downloadBytesOf, narSizeBytesOf } from '../collect/path-finder.ts';
import type { CollectProblem } from '../collect/plan.ts';
import type { PlannedMember, PlannedRoot, PlannedScope } from '../collect/plan-root.ts';
import { SCOPES, type Scope } from '../mirror/roots.ts';
import type { StorePath } from '../nix/index.ts';
import { formatTable } from './format.ts';
import { describeProblems } from './plan-report.ts';

/** What all roots together carry at one scope. */
export interface ScopeSummary {
  readonly scope: Scope;
  /** Whether it is what will be carried. */
  readonly chosen: boolean;
  readonly paths: number;
  /** Bytes still to come over the network or from a local store. */
  readonly downloadBytes: number;
  /** Sum of NarSize. */
  readonly unpackedBytes: number;
  /** What it has beyond the scope before, by reason. */
  readonly adds: readonly ScopeAddition[];
  /** Derivations that a client builds itself. */
  readonly builds: number;
  readonly problems: readonly CollectProblem[];
}

export interface ScopeAddition {
  readonly reason: ReasonKind;
  readonly paths: number;
  /** How many of them are not in the mirror. */
  readonly pathsToCome: number;
  /** Sizes of sources that no cache has are not known, and not in here. */
  readonly downloadBytes: number;
}

/** Sums up each scope that was worked out for the roots; a root without derivations counts the same at every scope. */
export function summarizeScopes(roots: readonly PlannedRoot[]): ScopeSummary[] {
  const worked = SCOPES.filter((scope) => roots.some(({ scopes }) => scopes.has(scope)));
  let before: ReadonlyMap<StorePath, PlannedMember> = new Map();
  return worked.map((scope) => {
    const parts = roots.map((root) => partAt(root, scope));
    const paths = new Map(parts.flatMap((part) => [...part.paths]));
    const summary: ScopeSummary = {
      scope,
      chosen: roots.some(({ root }) => root.scope === scope),
      paths: paths.size,
      downloadBytes: sum(paths.values(), downloadBytesOf),
      unpackedBytes: sum(paths.values(), narSizeBytesOf),
      adds: additions(paths, before),
      builds: new Set(parts.flatMap(({ builds }) => builds)).size,
      problems: [...new Map(parts.flatMap(({ problems }) => problems).map((one) => [one.storePath, one])).values()],
    };
    before = paths;
    return summary;
  });
}

/** The scopes side by side, what each adds and why, and what nobody has at those that were not chosen; the chosen one's problems are told anyway. */
export function describeScopes(summaries: readonly ScopeSummary[]): string {
  const rows = summaries.map((one) => [
    one.chosen ? `* ${one.scope}` : `  ${one.scope}`,
    formatNumber(one.paths),
    formatBytes(one.downloadBytes),
    formatBytes(one.unpackedBytes),
    one.builds === 0 ? '' : formatNumber(one.builds),
    one.problems.length === 0 ? '' : formatNumber(one.problems.length),
  ]);
  const heading = ['  scope', 'paths', 'download', 'disk', 'built there', 'cannot be had'];
  const table = formatTable([heading, ...rows], [1, 2, 3, 4, 5]);
  const details = summaries.flatMap((one) => [
    `${one.scope} ${one === summaries[0] ? 'carries' : 'adds'}:`,
    ...(one.adds.length === 0 ? ['  nothing'] : []),
    ...one.adds.map(
      (addition) => `  ${formatCount(addition.paths, 'path')}, ${describeToCome(addition)}: ${WORDS[addition.reason]}`,
    ),
  ]);
  const others = summaries.filter((one) => !one.chosen && one.problems.length > 0);
  const lacks = others.flatMap((one) => [`at ${one.scope}, this cannot be had:`, describeProblems(one.problems)]);
  return [table, ...details, ...lacks].join('\n');
}

/** The same as data, for --json. */
export function scopeFields(summaries: readonly ScopeSummary[]): Record<string, unknown>[] {
  return summaries.map((summary) => ({ ...summary }));
}

const WORDS: Readonly<Record<ReasonKind, string>> = {
  runtime: 'what the roots refer to when they run',
  evaluation: 'what evaluating the roots reads: flake inputs, channels, fetched trees',
  derivation: '.drv files and what they refer to',
  'build-input': 'what clients need to build what no cache gives them, and what that refers to',
  'input-source': 'files that go into such builds',
  'fixed-output': 'sources',
  'package-input': 'what the carried packages were built from, one level deep',
};

function describeToCome({ pathsToCome, downloadBytes }: ScopeAddition): string {
  if (pathsToCome === 0) return 'all here';
  return downloadBytes === 0 ? 'to come, of unknown size' : `${formatBytes(downloadBytes)} to come`;
}

function partAt({ carried, scopes }: PlannedRoot, scope: Scope): PlannedScope {
  return scopes.get(scope) ?? carried;
}

function additions(
  paths: ReadonlyMap<StorePath, PlannedMember>,
  before: ReadonlyMap<StorePath, PlannedMember>,
): ScopeSummary['adds'] {
  const byReason = new Map<ReasonKind, PlannedMember[]>();
  for (const [path, member] of paths) {
    if (before.has(path)) continue;
    const known = byReason.get(member.reason.kind);
    if (known === undefined) byReason.set(member.reason.kind, [member]);
    else known.push(member);
  }
  return [...byReason].map(([reason, members]) => ({
    reason,
    paths: members.length,
    pathsToCome: members.filter(({ found }) => found.kind !== 'present').length,
    downloadBytes: sum(members, downloadBytesOf),
  }));
}

function sum(members: Iterable<PlannedMember>, bytesOf: (found: PlannedMember['found']) => number): number {
  let total = 0;
  for (const { found } of members) total += bytesOf(found);
  return total;
}
