import { formatCount } from '../base/amounts.ts';
import { LIMITS } from '../base/limits.ts';
import { printable } from '../base/printable.ts';
import type { RootRecord } from '../mirror/roots.ts';
import type { Missing, RootOutcome, TargetOutcome } from './outcome.ts';
import { EVALUATION_INPUTS, type Rehearsed } from './rehearse.ts';

export interface LogInputs {
  readonly rehearsed: Rehearsed;
  /** The rehearsed roots, in their order. */
  readonly roots: readonly { readonly record: RootRecord; readonly digest: string }[];
  /** Program and version. */
  readonly generator: string;
}

/**
 * The log of a rehearsal, for people: what was run, what Nix did and said, the verdict on each root and variant. There are no times and no places of
 * this machine in it, so that the same rehearsal has the same log.
 */
export function formatRehearsalLog({ rehearsed, roots, generator }: LogInputs): string {
  const lines = [
    'nixferry rehearsal 1',
    '',
    `made by     ${generator}`,
    `nix         ${rehearsed.nixVersion}`,
    `sandbox     ${rehearsed.isSandboxed ? 'yes' : 'no'}`,
    'network     none',
    'store       empty before the first root',
    'substituter the mirror, only the paths of these roots, only its key trusted',
    `verdict     ${rehearsed.verdict}`,
    ...rehearsed.roots.flatMap((outcome, index) => ['', ...rootLines(outcome, roots[index])]),
  ];
  return cut(lines.map((line) => `${printable(line)}\n`));
}

/** A log that is too long for a shipment ends early, and says so; the verdicts on its first page are all there. */
function cut(lines: readonly string[]): string {
  let sizeBytes = 0;
  const end = lines.findIndex((line) => {
    sizeBytes += Buffer.byteLength(line);
    return sizeBytes > LIMITS.rehearsalLogBytes - SPARE_BYTES;
  });
  if (end === -1) return lines.join('');
  return `${lines.slice(0, end).join('')}… and ${formatCount(lines.length - end, 'more line')}\n`;
}

const SPARE_BYTES = 100;

function rootLines(outcome: RootOutcome, root: LogInputs['roots'][number] | undefined): string[] {
  const { record } = root ?? {};
  return [
    `root ${outcome.name}: ${outcome.verdict}`,
    `  request ${record?.request ?? ''}`,
    `  scope   ${record?.scope ?? ''}, ${formatCount(record?.paths.length ?? 0, 'path')}, digest ${root?.digest ?? ''}`,
    ...outcome.targets.flatMap((target) => ['', ...targetLines(target).map((line) => `  ${line}`)]),
  ];
}

function targetLines(target: TargetOutcome): string[] {
  const said = target.said.filter(({ kind }) => target.verdict !== 'complete' || kind !== 'info');
  return [
    `${titleOf(target)}: ${target.verdict}`,
    ...target.commands.map((command) => `  $ ${command}`),
    ...evaluationLines(target),
    ...listLines('built', target.built),
    ...listLines('of these, the mirror did not show that they would have to be', target.unforeseen),
    `  fetched: ${target.fetched.length}`,
    ...target.missing.flatMap((missing) => missingLines(missing).map((line) => `  ${line}`)),
    ...target.failed.flatMap(({ derivation, log }) => [
      `  failed: ${derivation}`,
      ...log.map((line) => `    | ${line}`),
    ]),
    ...(said.length === 0 ? [] : ['  Nix said:']),
    ...said.flatMap(({ text }) => text.split('\n').map((line) => `    ${line}`)),
  ];
}

/** What is missing, and who wants it. */
export function missingLines({ what, derivation, chain }: Missing): string[] {
  return [
    `missing: ${what}`,
    ...(derivation === undefined ? [] : [`  would be made by ${derivation}, which needs the network`]),
    ...chain.toReversed().map((drvPath, index) => `  ${index === 0 ? 'wanted by' : '      for'} ${drvPath}`),
  ];
}

function titleOf({ variant }: TargetOutcome): string {
  if (variant === undefined) return 'the root itself';
  return variant === EVALUATION_INPUTS ? variant : `variant ${variant}`;
}

const EVALUATION: Readonly<Record<TargetOutcome['evaluation'], string | undefined>> = {
  same: 'evaluated to what was collected',
  other: 'evaluated to something else than what was collected',
  'not-collected': 'evaluated; this variant was not collected',
  refused: 'could not be evaluated',
  recorded: 'not evaluated: the derivation that was collected is built',
  none: undefined,
};

function evaluationLines({ evaluation, wanted, variant }: TargetOutcome): string[] {
  const text = EVALUATION[evaluation];
  if (text === undefined)
    return variant === EVALUATION_INPUTS
      ? wanted.map((path) => `  ${path}`)
      : [`  asked for ${formatCount(wanted.length, 'path')}`];
  return [`  ${text}`, ...wanted.map((path) => `    ${path}`)];
}

function listLines(heading: string, paths: readonly string[]): string[] {
  return paths.length === 0 ? [] : [`  ${heading}: ${paths.length}`, ...paths.map((path) => `    ${path}`)];
}
