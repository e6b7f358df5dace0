import { formatCount, formatNumber } from '../../base/amounts.ts';
import { DIFF_SECTIONS, type ShipmentDiff, sizeWords, summaryWords, versionWords } from './diff-text.ts';
import { escapeHtml, factList, inSections, pageEnd, pageStart } from './html-page.ts';
import type { PackageDiff } from './shipment-diff.ts';
import { signatureSeal, tiles } from './show-page.ts';
import { timeWords } from './show-words.ts';

/** A comparison as one HTML file, in pieces. `generator` names who wrote it. */
export function* diffPage(diff: ShipmentDiff, generator: string): Generator<string, void, undefined> {
  const { manifest, packages, paths } = diff;
  const title = `What shipment ${manifest.sequence} changes at ${manifest.site}`;
  yield pageStart(title);
  yield `<header><div class="kind">Nixferry shipment, compared</div><h1>${escapeHtml(title)}</h1></header>\n`;
  yield signatureSeal(diff.signature);
  const count = (kind: PackageDiff['kind']) => formatNumber(packages.filter((one) => one.kind === kind).length);
  yield tiles([
    [count('changed'), 'other versions'],
    [count('added'), 'added'],
    [count('removed'), 'removed'],
    [count('rebuilt'), 'rebuilt'],
    [formatNumber(diff.unchangedPackages), 'unchanged'],
    [sizeWords(diff) || 'none', 'change of size'],
  ]);
  yield factList([
    ['for the site', escapeHtml(manifest.site)],
    ['from', escapeHtml(manifest.sender)],
    ['made', escapeHtml(`${timeWords(manifest.created)} by the sender's clock`)],
    ['compared with', escapeHtml(diff.comparedWith)],
    ...summaryWords(diff).map((line): [string, string] => {
      const colon = line.indexOf(': ');
      return [line.slice(0, colon), escapeHtml(line.slice(colon + 2))];
    }),
  ]);
  if (diff.otherContents.length > 0) {
    yield `<section class="seal bad"><strong>Other contents under the same name: ${formatCount(diff.otherContents.length, 'path')}</strong>\n`;
    yield* inSections(diff.otherContents, PATHS_PER_SECTION, '<pre>', (path) => `${escapeHtml(path)}\n`, '</pre>\n');
    yield '</section>\n';
  }
  for (const [kind, heading, explanation] of DIFF_SECTIONS) {
    const found = packages.filter((one) => one.kind === kind);
    if (found.length === 0) continue;
    yield `<h2>${escapeHtml(capital(heading))}: ${formatCount(found.length, 'package')}</h2>\n`;
    if (explanation !== '') yield `<p class="note">${escapeHtml(capital(explanation))}.</p>\n`;
    yield* inSections(
      found,
      ROWS_PER_SECTION,
      `<div class="part"><table class="diff">${COLUMNS}<tbody>\n`,
      row,
      '</tbody></table></div>\n',
    );
  }
  if (packages.length === 0) yield '<h2>Nothing changes</h2>\n';
  else yield* pathList(packages, paths.added + paths.removed - diff.derivations.added - diff.derivations.removed);
  yield pageEnd(generator);
}

const ROWS_PER_SECTION = 200;
const PATHS_PER_SECTION = 250;
const COLUMNS =
  '<thead><tr><th class="name">Package</th><th class="version">Version</th><th class="number">Unpacked</th><th class="number count">Paths</th></tr></thead>';
const MARKS: Readonly<Record<PackageDiff['kind'], string>> = {
  added: 'new',
  removed: 'gone',
  changed: 'changed',
  rebuilt: '',
  outputs: '',
};

function row(one: PackageDiff): string {
  const added = one.addedPaths.length > 0 ? `+${one.addedPaths.length}` : '';
  const removed = one.removedPaths.length > 0 ? `−${one.removedPaths.length}` : '';
  return `<tr><td>${escapeHtml(one.name)}</td><td class="${MARKS[one.kind]}">${escapeHtml(versionWords(one))}</td><td class="number">${sizeWords(one)}</td><td class="number">${[added, removed].join(' ').trim()}</td></tr>\n`;
}

function* pathList(packages: readonly PackageDiff[], count: number): Generator<string> {
  yield `<h2>Every path that comes or goes</h2>\n<details><summary>Show ${formatCount(count, 'path')}</summary>\n`;
  const lines = packages.values().flatMap(changedPaths);
  yield* inSections(lines, PATHS_PER_SECTION, '<pre class="part">', (line) => line, '</pre>\n');
  yield '</details>\n';
}

function* changedPaths({ removedPaths, addedPaths }: PackageDiff): Generator<string> {
  for (const path of removedPaths) yield `<span class="gone">− ${escapeHtml(path)}</span>\n`;
  for (const path of addedPaths) yield `<span class="new">+ ${escapeHtml(path)}</span>\n`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
