import type { CollectPlan, CollectProblem, ProblemKind } from '../collect/plan.ts';
import { formatBytes, formatCount, formatTable } from './format.ts';

const SHOWN_PROBLEMS = 20;

/** What a plan means, for a person who decides whether to go on. */
export function describePlan(plan: CollectPlan): string {
  const local = plan.toFetch.filter((path) => path.kind === 'local').length;
  const rows = [
    [
      'roots',
      String(plan.roots.length),
      plan.roots
        .map(({ root }) => (root.scope === 'run' ? root.name : `${root.name} (${root.scope})`))
        .slice(0, 5)
        .join(', '),
    ],
    ['paths', (plan.present.size + plan.toFetch.length).toLocaleString('en-US'), ''],
    ['already here', plan.present.size.toLocaleString('en-US'), ''],
    ['to fetch', (plan.toFetch.length - local).toLocaleString('en-US'), describeUpstreams(plan)],
  ];
  if (local > 0)
    rows.push(['from the local store', String(local), 'signed with the key of the mirror, for no upstream has them']);
  if (plan.problems.length > 0) rows.push(['cannot be had', String(plan.problems.length), 'see below']);
  rows.push(
    ['download', `${plan.downloadIsExact ? '' : 'at most '}${formatBytes(plan.downloadBytes)}`, ''],
    [
      'disk',
      `${plan.downloadIsExact ? '' : 'at most '}${formatBytes(plan.downloadBytes)}`,
      `${formatBytes(plan.freeBytes)} free`,
    ],
    ['unpacked in a store', formatBytes(plan.unpackedBytes), ''],
  );
  return formatTable(rows, [1]);
}

/** The same as data, for --json. */
export function planFields(plan: CollectPlan): Record<string, unknown> {
  return {
    roots: plan.roots.map(({ root, carried }) => ({
      request: root.request,
      name: root.name,
      scope: root.scope,
      variants: root.targets.flatMap(({ variant }) => variant ?? []),
      rootPaths: carried.rootPaths,
      paths: carried.paths.size,
    })),
    paths: plan.present.size + plan.toFetch.length,
    present: plan.present.size,
    fetch: plan.toFetch.map((path) => ({
      storePath: path.storePath,
      from: path.kind === 'local' ? 'local store' : path.upstream.url,
      fileSize: path.kind === 'local' ? undefined : path.info.fileSizeBytes,
      narSize: path.kind === 'local' ? path.local.narSizeBytes : path.info.narSizeBytes,
    })),
    problems: plan.problems,
    downloadBytes: plan.downloadBytes,
    downloadIsExact: plan.downloadIsExact,
    unpackedBytes: plan.unpackedBytes,
    freeBytes: plan.freeBytes,
  };
}

const HEADINGS: Readonly<Record<ProblemKind, string>> = {
  'not-built': 'not built yet (build them with `nix build`, then type the same command again)',
  'no-source': 'sources that no cache has (fetch them as it says, then type the same command again)',
  absent: 'nobody has them (add an upstream that does with --upstream, or build them here)',
  untrusted: 'not signed by a key that counts here (name the key with --trusted-public-key)',
  'upstream-error': 'an upstream failed (type the same command again; what is fetched stays)',
  damage: 'their bytes are not what was signed (try another upstream)',
  blocked: 'fetched, but they need what is named above',
};

/** Problems by kind, each with what wants it; long lists are cut, and said to be. */
export function describeProblems(problems: readonly CollectProblem[]): string {
  const lines: string[] = [];
  for (const kind of Object.keys(HEADINGS) as ProblemKind[]) {
    const ofKind = problems.filter((problem) => problem.kind === kind);
    if (ofKind.length === 0) continue;
    lines.push(`${formatCount(ofKind.length, 'path')} ${HEADINGS[kind]}:`);
    for (const problem of ofKind.slice(0, SHOWN_PROBLEMS)) lines.push(...describeProblem(problem));
    if (ofKind.length > SHOWN_PROBLEMS)
      lines.push(`  ... and ${ofKind.length - SHOWN_PROBLEMS} more (--json lists all)`);
  }
  return lines.join('\n');
}

function describeProblem(problem: CollectProblem): string[] {
  const chain = problem.chain ?? (problem.wantedBy === undefined ? [] : [problem.wantedBy]);
  const wantedBy = chain.length === 0 ? [] : [`    wanted by ${chain.toReversed().join(', for ')}`];
  return [`  ${problem.storePath}`, `    ${problem.detail}`, ...wantedBy];
}

function describeUpstreams(plan: CollectPlan): string {
  const counts = new Map<string, number>();
  for (const path of plan.toFetch) {
    if (path.kind === 'upstream') counts.set(path.upstream.url, (counts.get(path.upstream.url) ?? 0) + 1);
  }
  return [...counts].map(([url, count]) => (counts.size === 1 ? url : `${count} from ${url}`)).join(', ');
}
