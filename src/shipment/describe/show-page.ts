import { formatBytes, formatCount, formatNoun, formatNumber } from '../../base/amounts.ts';
import { escapeHtml, factList, inSections, pageEnd, pageStart } from './html-page.ts';
import type { DescribedNeed, DescribedPackage, DescribedPath, ShipmentDescription } from './shipment-description.ts';
import { narSha256 } from './show-text.ts';
import { NOT_LOOKED_AT, rootWords, type SignatureWords, shipmentFacts, signatureWords } from './show-words.ts';

/** A shipment as one HTML file, in pieces: nothing is held that the model does not hold already. `generator` names who wrote it. */
export function* showPage(description: ShipmentDescription, generator: string): Generator<string, void, undefined> {
  const { manifest, packages, derivations } = description;
  const { totals } = manifest;
  yield pageStart(`Shipment ${manifest.sequence} for ${manifest.site}`);
  yield `<header><div class="kind">Nixferry shipment</div><h1>Shipment ${manifest.sequence} for ${escapeHtml(manifest.site)}</h1></header>\n`;
  yield signatureSeal(signatureWords(description.signature, description.folder));
  yield tiles([
    [formatNumber(packages.length), formatNoun(packages.length, 'package')],
    [formatNumber(totals.pathCount), formatNoun(totals.pathCount, 'store path')],
    [formatBytes(totals.volumesSizeBytes), 'on the medium'],
    [formatBytes(totals.narSizeBytes), 'unpacked'],
  ]);
  yield factList(shipmentFacts(description).map(([label, value]) => [label, escapeHtml(value)]));
  yield `<p class="note">${escapeHtml(NOT_LOOKED_AT)}</p>\n`;
  yield* rootTable(description);
  yield `<h2 id="packages">${formatCount(packages.length, 'package')}</h2>\n`;
  yield* packageTables(packages);
  yield* pathList(packages);
  yield* needList(description.needs);
  if (derivations.pathCount > 0) {
    yield `<p class="note">Besides these, ${formatCount(derivations.pathCount, 'derivation')} (.drv, ${formatBytes(derivations.narSizeBytes)}) travel along: they say how to build, and run nothing themselves.</p>\n`;
  }
  yield pageEnd(generator);
}

/** The verdict on the signature, with the words to compare. */
export function signatureSeal({ isVerified, verdict, facts, advice }: SignatureWords): string {
  const lines = facts.map(([label, value]) =>
    label === 'in words'
      ? `<ol class="words">${value
          .split(' ')
          .map((word) => `<li>${escapeHtml(word)}</li>`)
          .join('')}</ol>`
      : `<p>${escapeHtml(label)}: <code>${escapeHtml(value)}</code></p>`,
  );
  const command = advice?.command === undefined ? '' : `<pre>${escapeHtml(advice.command)}</pre>`;
  const shown = advice === undefined ? '' : `<p>${escapeHtml(advice.text)}</p>${command}`;
  return `<section class="seal ${isVerified ? 'good' : 'bad'}"><strong>Signature ${escapeHtml(verdict)}</strong>${lines.join('')}${shown}</section>\n`;
}

/** Numbers that are looked for first. */
export function tiles(items: readonly (readonly [value: string, label: string])[]): string {
  const shown = items.map(([value, label]) => `<li><b>${escapeHtml(value)}</b><span>${escapeHtml(label)}</span></li>`);
  return `<ul class="tiles">${shown.join('')}</ul>\n`;
}

function* rootTable(description: ShipmentDescription): Generator<string> {
  yield `<h2>${formatCount(description.roots.length, 'root')}: what was asked for</h2>\n`;
  yield '<table><thead><tr><th class="name">Root</th><th>Brings</th><th class="scope wide">Scope</th>';
  yield '<th class="number count wide">Paths</th><th class="number">Unpacked</th></tr></thead><tbody>\n';
  for (const root of description.roots) {
    const { name, request, versions, state } = rootWords(root);
    const asked = request === '' ? '' : `<br><span class="note">asked for as ${escapeHtml(request)}</span>`;
    const warning = root.complete ? '' : `<br><strong class="gone">${escapeHtml(state)}</strong>`;
    yield `<tr><td><strong>${escapeHtml(name)}</strong>${asked}${warning}</td><td>${escapeHtml(versions)}</td><td class="wide">${escapeHtml(root.scope)}</td><td class="number wide">${formatNumber(root.pathCount)}</td><td class="number">${formatBytes(root.narSizeBytes)}</td></tr>\n`;
  }
  yield '</tbody></table>\n';
}

/** A list that is read at a glance needs no index. */
const WITHOUT_LETTERS = 60;
const ROWS_PER_SECTION = 200;
const PATHS_PER_SECTION = 250;

function* packageTables(packages: readonly DescribedPackage[]): Generator<string> {
  const shows = {
    licences: packages.some(({ licences }) => licences.length > 0),
    urls: packages.some(({ urls }) => urls.length > 0),
  };
  const table = (group: readonly DescribedPackage[]) =>
    inSections(
      group,
      ROWS_PER_SECTION,
      `<div class="part"><table>${columns(shows)}<tbody>\n`,
      (one) => packageRow(one, shows),
      '</tbody></table></div>\n',
    );
  if (packages.length <= WITHOUT_LETTERS) {
    yield* table(packages);
    return;
  }
  const letters = [...new Set(packages.map(letterOf))];
  const links = letters.map((letter) => `<a href="#${anchorOf(letter)}">${escapeHtml(letter)}</a>`);
  yield `<nav class="toc" aria-label="Packages by letter">${links.join('')}</nav>\n`;
  for (const letter of letters) {
    yield `<h3 id="${anchorOf(letter)}">${escapeHtml(letter)}</h3>\n`;
    yield* table(packages.filter((one) => letterOf(one) === letter));
  }
}

interface ShownColumns {
  readonly licences: boolean;
  readonly urls: boolean;
}

function columns({ licences, urls }: ShownColumns): string {
  const shown = [
    ['name', 'Package'],
    ['version', 'Version'],
    ['number', 'Unpacked'],
    ['outputs', 'Outputs'],
    ...(licences ? [['licence wide', 'Licence']] : []),
    ...(urls ? [['source wide', 'Source']] : []),
  ] as const;
  const heads = shown.map(([kind, head]) => `<th class="${kind}">${head}</th>`);
  return `<thead><tr>${heads.join('')}</tr></thead>`;
}

function packageRow(
  { name, version, narSizeBytes, paths, licences, urls }: DescribedPackage,
  shows: ShownColumns,
): string {
  const outputs = [...new Set(paths.map(({ output }) => output ?? ''))].filter((output) => output !== '');
  const count = paths.length > Math.max(1, outputs.length) ? formatCount(paths.length, 'path') : '';
  const cells = [
    `<td>${escapeHtml(name)}</td>`,
    `<td>${escapeHtml(version)}</td>`,
    `<td class="number">${formatBytes(narSizeBytes)}</td>`,
    `<td>${escapeHtml([outputs.join(' '), count].filter((text) => text !== '').join(', '))}</td>`,
    shows.licences ? `<td class="wide">${escapeHtml(licences.join(', '))}</td>` : '',
    // Not a link: on the isolated side it leads nowhere, and nobody should follow it by accident elsewhere.
    shows.urls ? `<td class="wide mono">${urls.map(escapeHtml).join('<br>')}</td>` : '',
  ];
  return `<tr>${cells.join('')}</tr>\n`;
}

function* pathList(packages: readonly DescribedPackage[]): Generator<string> {
  const count = packages.reduce((total, { paths }) => total + paths.length, 0);
  yield `<h2 id="paths">Every path and its hash</h2>\n<p class="note">The sha256 of the NAR, in hex; then the size unpacked, in bytes; then the base name in the store.</p>\n`;
  yield `<details><summary>Show ${formatCount(count, 'path')}</summary>\n`;
  const paths = packages.values().flatMap((one) => one.paths);
  yield* inSections(paths, PATHS_PER_SECTION, '<pre class="part">', pathRow, '</pre>\n');
  yield '</details>\n';
}

function* needList(needs: readonly DescribedNeed[]): Generator<string> {
  if (needs.length === 0) return;
  yield `<h2 id="needs">${formatCount(needs.length, 'path')} needed from before</h2>\n<p class="note">They belong to the roots and do not travel: import checks that the site has them.</p>\n`;
  yield `<details><summary>Show ${formatCount(needs.length, 'path')}</summary>\n`;
  yield* inSections(needs, PATHS_PER_SECTION, '<pre class="part">', pathRow, '</pre>\n');
  yield '</details>\n';
}

function pathRow({ path, narHash, narSizeBytes }: DescribedNeed | DescribedPath): string {
  return `${narSha256(narHash)}  ${String(narSizeBytes).padStart(12)}  ${escapeHtml(path)}\n`;
}

function letterOf({ name }: DescribedPackage): string {
  const first = name.charAt(0).toUpperCase();
  if (/[A-Z]/.test(first)) return first;
  return /[0-9]/.test(first) ? '0–9' : 'other';
}

function anchorOf(letter: string): string {
  return `packages-${letter.replace('–', '-')}`;
}
