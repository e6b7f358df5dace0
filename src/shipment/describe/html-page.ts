import { createHash } from 'node:crypto';
import { printable } from '../../base/printable.ts';

// The frame of every page: one file, no script, nothing from elsewhere. Should a text ever slip through the escaping, the policy in the head
// still lets nothing load and nothing run.

/** A text of unknown origin for HTML, between tags or in quoted attributes. */
export function escapeHtml(text: string): string {
  return printable(text).replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}

/** Everything up to the contents of the page's body. `title` is escaped here. */
export function pageStart(title: string): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
`;
}

export function pageEnd(generator: string): string {
  return `</main>\n<footer>Written by ${escapeHtml(generator)}. This page holds everything it shows; it loads nothing and runs no script.</footer>\n</body>\n</html>\n`;
}

/** A list of labels and values; the values are HTML. */
export function factList(facts: readonly (readonly [label: string, html: string])[]): string {
  const items = facts.map(([label, html]) => `<div><dt>${escapeHtml(label)}</dt><dd>${html}</dd></div>\n`);
  return `<dl>\n${items.join('')}</dl>\n`;
}

/** A stretch of a long list. Browsers leave out the layout of those that are off the screen: 100,000 rows open at once. */
export function* inSections<Item>(
  items: Iterable<Item>,
  itemsPerSection: number,
  start: string,
  format: (item: Item) => string,
  end: string,
): Generator<string, void, undefined> {
  let html = '';
  let count = 0;
  for (const item of items) {
    if (count === 0) html = start;
    html += format(item);
    if (++count < itemsPerSection) continue;
    yield html + end;
    count = 0;
  }
  if (count > 0) yield html + end;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const STYLE = `
:root { color-scheme: light dark; --text: #1b1f24; --soft: #57606a; --back: #ffffff; --panel: #f5f7f9; --line: #d5dae0; --good: #116329; --good-back: #e3f5e8; --bad: #9a1b12; --bad-back: #fdeae8; --new: #116329; --gone: #9a1b12; --changed: #7a4b00; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ec; --soft: #9aa5b1; --back: #14181d; --panel: #1c2229; --line: #343c46; --good: #6fdd8b; --good-back: #12301c; --bad: #ff9d94; --bad-back: #3b1714; --new: #6fdd8b; --gone: #ff9d94; --changed: #f0c069; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", "Liberation Sans", sans-serif; }
main, footer { max-width: 76rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding: 2.2rem 0 .6rem; }
.kind { color: var(--soft); font-size: .8rem; letter-spacing: .08em; text-transform: uppercase; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .2rem 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .7rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; color: var(--soft); }
p { margin: .4rem 0; max-width: 60rem; }
.note { color: var(--soft); }
.seal { border: 1px solid var(--line); border-left-width: 6px; border-radius: 6px; padding: .8rem 1.1rem; margin: 1.1rem 0; }
.seal strong { font-size: 1.08rem; }
.seal.good { border-color: var(--good); background: var(--good-back); }
.seal.good strong { color: var(--good); }
.seal.bad { border-color: var(--bad); background: var(--bad-back); }
.seal.bad strong { color: var(--bad); }
.words { display: flex; flex-wrap: wrap; gap: .3rem .5rem; list-style: none; margin: .5rem 0; padding: 0; counter-reset: word; }
.words li { counter-increment: word; border: 1px solid currentColor; border-radius: 4px; padding: 0 .5rem; font-weight: 600; }
.words li::before { content: counter(word) " "; font-weight: 400; font-size: .8em; color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: .5rem 2rem; margin: 1rem 0; }
dt { color: var(--soft); font-size: .82rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; padding: 0; list-style: none; }
.tiles li { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .5rem 1rem; min-width: 8rem; }
.tiles b { display: block; font-size: 1.5rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: .85rem; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th, td { text-align: left; vertical-align: top; padding: .28rem .7rem .28rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; font-size: .82rem; }
th.name { width: 26%; } th.scope { width: 7.5rem; } th.count { width: 6.5rem; } th.version { width: 16%; } th.number { width: 8.5rem; } th.licence { width: 14%; } th.source { width: 30%; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 1.4rem; }
.new { color: var(--new); } .gone { color: var(--gone); } .changed { color: var(--changed); }
.part { content-visibility: auto; contain-intrinsic-size: auto 40rem; }
.toc { display: flex; flex-wrap: wrap; gap: .15rem .7rem; margin: .5rem 0 1rem; }
a { color: inherit; text-decoration: underline; text-decoration-color: var(--soft); text-underline-offset: .15em; }
code, pre, .mono { font-family: ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace; font-size: .86em; overflow-wrap: anywhere; }
pre { margin: 0; padding: .2rem 0; white-space: pre-wrap; word-break: break-all; line-height: 1.55; }
summary { cursor: pointer; padding: .4rem 0; font-weight: 600; }
footer { color: var(--soft); font-size: .82rem; padding-top: 2rem; padding-bottom: 2.5rem; }
@media (max-width: 46rem) { main, footer { padding: 0 .9rem; } th, td { padding-right: .4rem; } .wide { display: none; } dl { grid-template-columns: 1fr; } th.name { width: 34%; } th.version { width: auto; } th.number { width: 6.5rem; } }
@media print {
  :root { --text: #000; --soft: #444; --back: #fff; --panel: #fff; --line: #bbb; --good: #0b4d1e; --good-back: #fff; --bad: #7d0f08; --bad-back: #fff; --new: #000; --gone: #000; --changed: #000; }
  body { font-size: 9.5pt; } main, footer { max-width: none; padding: 0; } header { padding-top: 0; }
  .part { content-visibility: visible; } .toc { display: none; }
  tr, .seal, .tiles li { break-inside: avoid; } h2, h3 { break-after: avoid; } thead { display: table-header-group; }
}
@page { margin: 16mm; }
`;

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');
