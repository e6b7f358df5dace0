import { formatBytes, formatCount } from '../base/amounts.ts';
import { quoteForShell } from '../base/shell-word.ts';
import type { CheckedMissing, CheckResult, TargetCheck } from '../closure/check-result.ts';
import { distinctNames } from '../mirror/distinct-names.ts';
import type { RootRecord } from '../mirror/roots.ts';
import { baseNameOf, nameOf, type StorePath } from '../nix/index.ts';
import { formatTable } from './format.ts';
import { collectCommand, requestInWords } from './root-words.ts';

/** One root that was checked; `record` is undefined for a path that is no root of the mirror. */
export interface CheckedRoot {
  readonly name: string;
  readonly record: RootRecord | undefined;
  /** The roots that came to the mirror by shipments; there are none on the connected side. */
  readonly imported: readonly RootRecord[];
  readonly result: CheckResult;
  readonly mirrorDirectory: string;
}

const SHOWN_MISSING = 20;

/** What was found, for a person who decides whether to carry this mirror to where there is no internet. */
export function describeCheckedRoot(checked: CheckedRoot, shownName = checked.name): string {
  const { record, result } = checked;
  const { missing, judged, asked, targets } = result;
  const verdict = missing.length === 0 ? 'complete' : `${formatCount(missing.length, 'path')} missing`;
  const lines = [`${shownName}${record === undefined ? '' : ` (${record.scope})`}: ${verdict}`];
  const rows = targets.map(describeTarget);
  if (asked.paths > 0 || targets.length === 0) {
    const what = record === undefined || targets.length === 0 ? 'to install' : 'to install and evaluate';
    rows.unshift([what, `fetch ${formatCount(asked.paths, 'path')} (${formatBytes(asked.fetchBytes)})`]);
  }
  lines.push(...indented(formatTable(rows), '  '));
  lines.push(...describeLimits(judged, result));
  if (record?.complete === false && missing.some(({ kind }) => kind === 'output')) {
    lines.push(
      '  not all of it could be had when it was collected, and what that was is not recorded:',
      '  of each way down to it, the highest output is named that a cache could give',
    );
  }
  for (const one of missing.slice(0, SHOWN_MISSING)) lines.push(...describeMissing(one, targets.length));
  if (missing.length > SHOWN_MISSING) lines.push(`  ... and ${missing.length - SHOWN_MISSING} more (--json lists all)`);
  if (missing.length > 0) lines.push(...whatToDo(checked));
  return lines.join('\n');
}

/** What to call each beside the others. */
export function shownNames(checked: readonly CheckedRoot[]): string[] {
  return distinctNames(
    checked.map(({ name, record }) => ({ name, request: record?.request ?? name, scope: record?.scope ?? 'run' })),
  );
}

/** The same as data, for --json. */
export function checkFields({ name, record, result }: CheckedRoot): Record<string, unknown> {
  const { judged, asked, targets, missing, unsigned, unknowable } = result;
  return {
    name,
    id: record?.id,
    request: record?.request,
    scope: record?.scope,
    complete: missing.length === 0,
    judged,
    asked,
    targets: targets.map(({ target, ...rest }) => ({
      variant: target.variant,
      derivation: target.drvPath,
      outputs: target.outputs,
      builds: rest.builds,
      fetches: rest.fetches,
      fetchBytes: rest.fetchBytes,
      systems: rest.systems,
      missing: rest.missing,
    })),
    missing: missing.map(missingFields),
    unsigned,
    unknowable,
  };
}

function missingFields(missing: CheckedMissing): Record<string, unknown> {
  return { ...missing, wantedFor: missing.wantedFor.map((variant) => variant ?? null) };
}

function describeTarget({ target, builds, fetches, fetchBytes, systems }: TargetCheck): string[] {
  const what = target.variant === undefined ? 'to build it' : `with ${shortened(target.variant)}`;
  const kinds = systems.length > 1 ? `, for ${systems.join(' and ')}` : '';
  const work = `build ${formatCount(builds.length, 'derivation')}${kinds}, fetch ${formatCount(fetches.length, 'path')} (${formatBytes(fetchBytes)})`;
  return [what, work];
}

function describeLimits(judged: CheckResult['judged'], { unsigned, unknowable, missing }: CheckResult): string[] {
  const lines: string[] = [];
  if (judged === 'paths-only') {
    lines.push(
      '  not judged: whether a changed configuration can be built, since the .drv files were not carried (--no-drvs);',
      '              what is here can be installed and evaluated as far as is said above',
    );
  }
  for (const drvPath of unknowable.slice(0, SHOWN_MISSING)) {
    lines.push(`  cannot be known: what ${baseNameOf(drvPath)} wants while it is built (it is impure or dynamic)`);
  }
  const harmless = unsigned.filter((path) => !missing.some((one) => one.path === path));
  if (harmless.length > 0) {
    const [first] = harmless;
    const more = harmless.length === 1 ? '' : ` and ${harmless.length - 1} more`;
    lines.push(`  no signature that counts: ${first}${more}; clients build instead`);
  }
  return lines;
}

function describeMissing(missing: CheckedMissing, targetCount: number): string[] {
  const { path, chain, wantedFor } = missing;
  const lines = [`  missing: ${path}`, `    ${explain(missing)}`];
  if (wantedFor.length === targetCount && targetCount > 1)
    lines.push('    wanted for the root itself and every variant');
  else if (wantedFor.some((variant) => variant !== undefined)) {
    lines.push(`    wanted for ${wantedFor.map(nameVariant).join(', ')}`);
  }
  for (const [index, wanting] of chain.entries()) {
    lines.push(`    ${index === 0 ? 'wanted by ' : '          → '}${baseNameOf(wanting)}`);
  }
  return lines;
}

function nameVariant(variant: string | undefined): string {
  return variant === undefined ? 'the root itself' : `the variant ${shortened(variant)}`;
}

function explain({ kind, derivation, lacks, isUnsigned, isWithheld, damage }: CheckedMissing): string {
  if (damage !== undefined) return `it is damaged: ${damage}`;
  const signed = isUnsigned ? 'it is here, but clients do not take it: no signature of it counts' : undefined;
  const made = derivation === undefined ? '' : `${baseNameOf(derivation)} `;
  switch (kind) {
    case 'output': {
      const first = lacks.map((path) => nameOf(path)).join(', ');
      return `${signed ?? 'an output that is not here'}; ${made}cannot be built either, for want of ${first}${lacks.length > 1 ? ' …' : ''}`;
    }
    case 'fixed-output':
      if (isWithheld) return `it is here, but ${made}forbids clients to take it from a cache (allowSubstitutes)`;
      return signed ?? `a source that is not here; ${made}would have to fetch it from the internet`;
    case 'derivation':
      return 'the .drv file is not here, or its output is not known before it is built';
    case 'recorded':
      return signed ?? 'it belonged to the root when that was recorded, and is gone';
    case 'path':
      return signed ?? 'it is not here';
  }
}

/** What to type, and on which side. */
function whatToDo(checked: CheckedRoot): string[] {
  const steps = isOwnDerivation(checked) ? stepsForOwnDerivation(checked.imported) : stepsForRoot(checked);
  const withheld = checked.result.missing.filter(({ isWithheld }) => isWithheld);
  if (withheld.length > 0) {
    steps.push('on each client, before it builds:');
    for (const { path } of withheld.slice(0, SHOWN_MISSING)) steps.push(`  nix-store --realise ${path}`);
    steps.push('  (or always-allow-substitutes = true in nix.conf, from Nix 2.19 on)');
  }
  return steps.map((step, index) => `${index === 0 ? 'next:  ' : '       '}${step}`);
}

/** Evaluated on the isolated side, so that the connected side does not know it. */
function isOwnDerivation({ name, record, imported, result }: CheckedRoot): boolean {
  return record === undefined && imported.length > 0 && (result.targets.length > 0 || name.endsWith('.drv'));
}

/** The change itself must get to the connected side: there is no way for a derivation. */
function stepsForOwnDerivation(imported: readonly RootRecord[]): string[] {
  const changeable = imported.filter(({ targets = [] }) => targets.length > 0);
  const [root] = changeable.length === 1 ? changeable : [];
  const request = root === undefined ? 'ROOT' : requestInWords(root);
  const scope = root?.scope === 'rebuild' ? 'rebuild' : 'reconfigure';
  return [
    'on the connected side, with what was changed here:',
    `  nixferry collect --scope ${scope} ${request} --variant 'OPTION = VALUE;'    # beside the --variant of before`,
    '  (or change the same files there, and leave --variant out)',
    `  nixferry pack --site ${quoteForShell(siteOf(root ?? imported[0]))} --to DIR`,
    'then here:',
    '  nixferry import DIR',
  ];
}

function siteOf(record: RootRecord | undefined): string {
  return record?.shipment?.site ?? 'SITE';
}

function stepsForRoot({ name, record, result, mirrorDirectory }: CheckedRoot): string[] {
  const { missing } = result;
  const isImported = record?.origin === 'imported';
  const lines: string[] = [];
  const sources = missing.filter(
    ({ kind, isWithheld, isUnsigned }) => kind === 'fixed-output' && !isWithheld && !isUnsigned,
  );
  // A .drv file that is in the mirror alone comes from there.
  const from = isImported ? '' : ` --option extra-substituters file://${quoteForShell(mirrorDirectory)}`;
  for (const { derivation } of sources.slice(0, SHOWN_MISSING)) {
    if (derivation !== undefined) lines.push(`nix-store --realise ${derivation}${from}`);
  }
  if (missing.some(({ damage }) => damage !== undefined)) lines.push('nixferry verify --upstream URL');
  lines.push(collectAgain(name, record));
  return isImported
    ? [
        'on the connected side:',
        ...lines.map((line) => `  ${line}`),
        `  nixferry pack --site ${quoteForShell(siteOf(record))} --to DIR`,
        'then here:',
        '  nixferry import DIR',
      ]
    : ['on the connected side:', ...lines.map((line) => `  ${line}`)];
}

function collectAgain(name: string, record: RootRecord | undefined): string {
  if (record !== undefined) return collectCommand(record);
  const [path = name] = name.split(/[!^]/);
  return `nixferry collect${path.endsWith('.drv') ? ' --scope reconfigure' : ''} ${quoteForShell(name)}`;
}

function shortened(variant: string): string {
  const line = variant.trim().replaceAll(/\s+/g, ' ');
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}

function indented(text: string, by: string): string[] {
  return text === '' ? [] : text.split('\n').map((line) => by + line);
}

/** All that is missing, over all roots. */
export function countMissing(roots: readonly CheckedRoot[]): number {
  return new Set<StorePath>(roots.flatMap(({ result }) => result.missing.map(({ path }) => path))).size;
}
