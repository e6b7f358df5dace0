import { formatBytes, formatCount, formatNumber } from '../../base/amounts.ts';
import { printable } from '../../base/printable.ts';
import type { Manifest } from '../manifest.ts';
import type { HoldingsDiff, PackageDiff } from './shipment-diff.ts';
import { type SignatureWords } from './show-words.ts';

/** A shipment against what was held before. */
export interface ShipmentDiff extends HoldingsDiff {
  readonly manifest: Manifest;
  readonly folder: string;
  readonly signature: SignatureWords;
  /** What it was compared with, in words. */
  readonly comparedWith: string;
}

/** The kinds of change in the order in which they matter to a reader, with their headings. */
export const DIFF_SECTIONS: readonly (readonly [kind: PackageDiff['kind'], heading: string, explanation: string])[] = [
  ['changed', 'other versions', ''],
  ['added', 'added', ''],
  ['removed', 'removed', 'no root of the shipment needs them any more; import deletes nothing'],
  ['rebuilt', 'rebuilt', 'the same version, made from other inputs'],
  ['outputs', 'more or fewer outputs', 'the same version, with other paths beside those that stay'],
];

/** A comparison for a person at a terminal, in pieces; every line is printable. */
export function* diffText(diff: ShipmentDiff, withPaths: boolean): Generator<string, void, undefined> {
  const { manifest, signature, packages } = diff;
  yield `shipment ${manifest.sequence} for ${manifest.site}, compared with ${printable(diff.comparedWith)}\n`;
  yield `signature ${signature.verdict}\n`;
  for (const [label, value] of signature.facts) yield `  ${label}: ${value}\n`;
  for (const [kind, heading, explanation] of DIFF_SECTIONS) {
    const found = packages.filter((one) => one.kind === kind);
    if (found.length === 0) continue;
    yield `\n${heading}: ${formatCount(found.length, 'package')}${explanation === '' ? '' : ` (${explanation})`}\n`;
    const width = Math.min(44, Math.max(...found.map(({ name }) => printable(name).length)));
    for (const one of found) {
      yield `  ${printable(one.name).padEnd(width)}  ${versionWords(one)}  ${sizeWords(one)}`.trimEnd().concat('\n');
      if (!withPaths) continue;
      for (const path of one.removedPaths) yield `      - ${path}\n`;
      for (const path of one.addedPaths) yield `      + ${path}\n`;
    }
  }
  if (diff.otherContents.length > 0) {
    yield `\nOTHER CONTENTS under the same name: ${formatCount(diff.otherContents.length, 'path')}\n`;
    for (const path of diff.otherContents) yield `  ${path}\n`;
  }
  yield `\n${summaryWords(diff).join('\n')}\n`;
}

/** `2.39.5 → 2.47.0`; what stays beside it in brackets. */
export function versionWords({ kind, oldVersions, newVersions, keptVersions }: PackageDiff): string {
  if (kind === 'added') return listVersions(newVersions.filter((version) => version !== ''));
  if (kind === 'removed') return listVersions(oldVersions.filter((version) => version !== ''));
  if (kind !== 'changed') return listVersions(keptVersions.filter((version) => version !== ''));
  const change = [listVersions(oldVersions), listVersions(newVersions)]
    .map((text) => (text === '' ? 'none' : text))
    .join(' → ');
  return keptVersions.length === 0 ? change : `${change} (beside ${listVersions(keptVersions)})`;
}

/** `+1.2 MB`; empty where the size stays. */
export function sizeWords({
  oldNarSizeBytes,
  newNarSizeBytes,
}: {
  oldNarSizeBytes: number;
  newNarSizeBytes: number;
}): string {
  const change = newNarSizeBytes - oldNarSizeBytes;
  if (change === 0) return '';
  return `${change > 0 ? '+' : '−'}${formatBytes(Math.abs(change))}`;
}

/** How much is new, gone and as it was. */
export function summaryWords({ paths, derivations, unchangedPackages, ...sizes }: HoldingsDiff): string[] {
  const change = sizeWords(sizes);
  const drvs = derivations.added + derivations.removed;
  return [
    `unchanged: ${formatCount(unchangedPackages, 'package')}`,
    `paths: ${formatNumber(paths.added)} added, ${formatNumber(paths.removed)} removed, ${formatNumber(paths.unchanged)} unchanged` +
      (drvs === 0
        ? ''
        : `; derivations (.drv) among these: ${formatNumber(derivations.added)} added, ${formatNumber(derivations.removed)} removed`),
    `unpacked: ${formatBytes(sizes.oldNarSizeBytes)} before, ${formatBytes(sizes.newNarSizeBytes)} after${change === '' ? '' : ` (${change})`}`,
  ];
}

function listVersions(versions: readonly string[]): string {
  return versions.map((version) => (version === '' ? '(no version)' : printable(version))).join(', ');
}
