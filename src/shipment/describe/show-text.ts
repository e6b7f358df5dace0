import { formatBytes, formatCount } from '../../base/amounts.ts';
import { printable } from '../../base/printable.ts';
import { formatHash, parseHash } from '../../nix/index.ts';
import type { DescribedPackage, ShipmentDescription } from './shipment-description.ts';
import { type Fact, NOT_LOOKED_AT, rootWords, shipmentFacts, signatureWords } from './show-words.ts';

/**
 * A shipment for a person at a terminal, in pieces of a few lines each; every line is printable. With `withPaths` each package is followed by
 * its paths and the sha256 of their NARs in hex.
 */
export function* showText(description: ShipmentDescription, withPaths: boolean): Generator<string, void, undefined> {
  const { manifest } = description;
  yield `shipment ${manifest.sequence} for ${manifest.site}\n\n`;
  yield* signatureLines(description);
  yield `\n${factLines(shipmentFacts(description))}`;
  yield `\n${NOT_LOOKED_AT}\n`;
  yield `\n${formatCount(manifest.roots.length, 'root')}\n`;
  for (const root of description.roots) {
    const { name, request, versions, state } = rootWords(root);
    yield `  ${name}: ${state}, scope ${root.scope}, ${formatCount(root.pathCount, 'path')}, ${formatBytes(root.narSizeBytes)} unpacked\n`;
    if (request !== '') yield `    asked for as ${request}\n`;
    if (versions !== '') yield `    brings ${versions}\n`;
  }
  yield `\n${formatCount(description.packages.length, 'package')}, by name\n`;
  yield* packageLines(description.packages, withPaths);
  if (description.needs.length === 0) return;
  yield `\n${formatCount(description.needs.length, 'path')} needed from before${withPaths ? '' : ' (--paths lists them)'}\n`;
  for (const need of withPaths ? description.needs : []) {
    const from = need.sequence === undefined ? '' : `  of shipment ${need.sequence}`;
    yield `  ${need.path}  sha256:${narSha256(need.narHash)}${from}\n`;
  }
}

/** Lines of label and value, the values below each other. */
export function factLines(facts: readonly Fact[]): string {
  const width = Math.max(0, ...facts.map(([label]) => label.length));
  return facts.map(([label, value]) => `${label.padEnd(width)}  ${value}\n`).join('');
}

function* signatureLines({ signature, folder }: ShipmentDescription): Generator<string> {
  const { verdict, facts, advice } = signatureWords(signature, folder);
  yield `signature ${verdict}\n`;
  for (const [label, value] of facts) yield `  ${label}: ${value}\n`;
  if (advice === undefined) return;
  yield `  ${advice.text}\n`;
  if (advice.command !== undefined) yield `    ${advice.command}\n`;
}

function nameCell({ name }: DescribedPackage): string {
  return printable(name);
}

function versionCell({ version }: DescribedPackage): string {
  return version === '' ? '-' : printable(version);
}

/** Longer cells do not push the others of all rows aside. */
const CELL_WIDTH_MAX = 44;

function* packageLines(packages: readonly DescribedPackage[], withPaths: boolean): Generator<string> {
  const widthOf = (cell: (one: DescribedPackage) => string) =>
    packages.reduce((widest, one) => Math.max(widest, Math.min(CELL_WIDTH_MAX, cell(one).length)), 0);
  const widths = [widthOf(nameCell), widthOf(versionCell)] as const;
  for (const one of packages) {
    const cells = [
      nameCell(one).padEnd(widths[0]),
      versionCell(one).padEnd(widths[1]),
      formatBytes(one.narSizeBytes).padStart(9),
    ];
    const more = [
      one.paths.length > 1 ? `${one.paths.length} paths` : '',
      ...one.licences.map((licence) => `licence ${printable(licence)}`),
    ].filter((text) => text !== '');
    yield `  ${[...cells, more.join(', ')].join('  ').trimEnd()}\n`;
    if (!withPaths) continue;
    for (const url of one.urls) yield `      from ${printable(url)}\n`;
    for (const path of one.paths) yield `      ${path.path}  sha256:${narSha256(path.narHash)}\n`;
  }
}

/** Hex: what other tools print. */
export function narSha256(narHash: string): string {
  return formatHash(parseHash(narHash), 'base16', { prefix: false });
}
