import { formatCount } from '../base/amounts.ts';
import type { Missing, RootOutcome, TargetOutcome } from '../rehearse/outcome.ts';
import { missingLines } from '../rehearse/rehearsal-log.ts';
import type { Rehearsed } from '../rehearse/rehearse.ts';

const SHOWN_MISSING = 10;

/** How a rehearsal ended, in words, with what to call each root: a line for each root and variant, what is missing in full, and where the log is. */
export function describeRehearsal(rehearsed: Rehearsed, logFile: string, names: readonly string[]): string {
  const { roots, verdict, nixVersion } = rehearsed;
  return [
    ...roots.flatMap(({ name, targets }, index) => rootLines(names[index] ?? name, targets)),
    `  log: ${logFile}`,
    verdict === 'complete'
      ? `complete: ${formatCount(roots.length, 'root')} made from the mirror alone by ${nixVersion}, without a network; the next pack takes the log along`
      : `not complete: ${verdict === 'missing' ? NEXT_MISSING : NEXT_FAILED}`,
  ].join('\n');
}

const NEXT_MISSING =
  'something is missing.\nnext:  collect the root again with what names it: a variant (--variant), a wider scope (--scope), another upstream';
const NEXT_FAILED =
  'nothing is missing as far as can be told, but Nix could not do it; the log has its words.\nnext:  try the same without the rehearsal; where evaluation reads files of this machine, show them with --share DIR';

function rootLines(name: string, targets: RootOutcome['targets']): string[] {
  // What the root lacks its variants lack as well: it is said once.
  const seen = new Set<string>();
  return targets.flatMap((target) => {
    const what = target.variant === undefined ? name : `${name}: ${target.variant}`;
    const lines = [`${target.verdict.padEnd(8)} ${what} (${countsOf(target)})`];
    if (target.verdict === 'complete') return lines;
    const causes = target.missing.filter(({ isCause }) => isCause);
    const news = causes.filter((missing) => !seen.has(missing.what));
    for (const { what: path } of causes) seen.add(path);
    if (causes.length > 0 && news.length === 0) return [...lines, '  missing: the same'];
    lines.push(...shownMissing(news).map((line) => `  ${line}`));
    lines.push(...target.failed.map(({ derivation }) => `  failed: ${derivation}`));
    return [...lines, ...errorLines(target)];
  });
}

function countsOf({ built, fetched, evaluation }: TargetOutcome): string {
  const parts = [`${built.length} built`, `${fetched.length} fetched`];
  if (evaluation === 'other') parts.push('evaluated to something else than what was collected');
  if (evaluation === 'refused') parts.push('not evaluated');
  return parts.join(', ');
}

function shownMissing(missing: readonly Missing[]): string[] {
  const more = missing.length - SHOWN_MISSING;
  const lines = missing.slice(0, SHOWN_MISSING).flatMap(missingLines);
  return more > 0 ? [...lines, `and ${more} more; see the log`] : lines;
}

/** The last thing that Nix said is what it stopped at. */
function errorLines({ said }: TargetOutcome): string[] {
  const last = said.findLast(({ kind }) => kind === 'error');
  return last === undefined ? [] : ['  Nix said:', ...last.text.split('\n').map((line) => `    ${line}`)];
}
