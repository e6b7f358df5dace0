import { formatBytes, formatCount, formatNumber } from '../base/amounts.ts';
import type { PlannedPath } from '../collect/path-finder.ts';
import type { CollectPlan, CollectProblem, ProblemKind } from '../collect/plan.ts';
import type { SourceAttempt } from '../sources/source-supply.ts';
import { formatTable } from './format.ts';

const SHOWN_PROBLEMS = 20;
const SHOWN_LINES = 4;

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
    ['paths', formatNumber(plan.present.size + plan.toFetch.length), ''],
    ['already here', formatNumber(plan.present.size), ''],
    ['to fetch', formatNumber(plan.toFetch.length - local - plan.unsizedSources), describeUpstreams(plan)],
  ];
  if (local > 0)
    rows.push(['from the local store', String(local), 'signed with the key of the mirror, for no upstream has them']);
  if (plan.unsizedSources > 0) rows.push(['sources', formatNumber(plan.unsizedSources), describeSources(plan)]);
  const repositories = plan.roots.flatMap(({ root }) =>
    (root.repositories ?? root.wantedRepositories ?? []).map(({ place }) => place),
  );
  if (repositories.length > 0)
    rows.push([
      'repositories',
      String(new Set(repositories).size),
      'of git; how large one is, is known only when it is fetched',
    ]);
  for (const { name, isHere, files, sizeBytes } of plan.channels) {
    const size = `${formatCount(files, 'file')} of ${formatBytes(sizeBytes)}`;
    rows.push([`channel ${name}`, isHere ? '0 B' : formatBytes(sizeBytes), isHere ? `${size} are here already` : size]);
  }
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
      repositories: (root.repositories ?? root.wantedRepositories ?? []).map(({ url }) => url),
    })),
    paths: plan.present.size + plan.toFetch.length,
    present: plan.present.size,
    fetch: plan.toFetch.map((path) => ({
      storePath: path.storePath,
      ...describeOrigin(path),
    })),
    channels: plan.channels,
    sources: plan.unsizedSources,
    sourceBytesEstimate: plan.unsizedBytes,
    problems: plan.problems,
    downloadBytes: plan.downloadBytes,
    downloadIsExact: plan.downloadIsExact,
    unpackedBytes: plan.unpackedBytes,
    freeBytes: plan.freeBytes,
  };
}

const HEADINGS: Readonly<Record<ProblemKind, string>> = {
  'not-built': 'not built yet (build them with `nix build`, then type the same command again)',
  'no-source':
    'of sources that could not be had (name a folder that has them with --sources-from, then type the same command again)',
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
  const blocks = problem.blocks ?? [];
  return [
    `  ${problem.storePath}`,
    `    ${problem.detail}`,
    ...(problem.attempts ?? []).flatMap(describeAttempt),
    ...wantedBy,
    ...(blocks.length === 0 ? [] : [`    without it, not complete: ${blocks.join(', ')}`]),
  ];
}

/** What a builder says comes in many lines, of which the last tell what went wrong. */
function describeAttempt({ from, problem }: SourceAttempt): string[] {
  const [first = '', ...others] = problem.split('\n').filter((line) => line.trim() !== '');
  return [`    ${from}: ${first}`, ...others.slice(-SHOWN_LINES).map((line) => `      ${line.trim()}`)];
}

function describeOrigin(path: PlannedPath): {
  readonly from: string;
  readonly fileSize?: number | undefined;
  readonly narSize?: number;
} {
  switch (path.kind) {
    case 'upstream':
      return { from: path.upstream.url, fileSize: path.info.fileSizeBytes, narSize: path.info.narSizeBytes };
    case 'local':
      return { from: 'local store', narSize: path.local.narSizeBytes };
    case 'source':
      return { from: path.source.recipe?.addresses[0] ?? 'its builder' };
  }
}

function describeSources({ unsizedBytes }: CollectPlan): string {
  const from = 'no cache has them; each is fetched from where it comes from';
  return unsizedBytes === undefined ? from : `${from}, about ${formatBytes(unsizedBytes)} besides the download below`;
}

function describeUpstreams(plan: CollectPlan): string {
  const counts = new Map<string, number>();
  for (const path of plan.toFetch) {
    if (path.kind === 'upstream') counts.set(path.upstream.url, (counts.get(path.upstream.url) ?? 0) + 1);
  }
  return [...counts].map(([url, count]) => (counts.size === 1 ? url : `${count} from ${url}`)).join(', ');
}
