import { createHash } from 'node:crypto';
import { formatCount, formatNumber } from '../base/amounts.ts';
import { describeUpstream } from '../proxy/upstream-words.ts';
import {
  amountFetched,
  amountHere,
  clientSteps,
  type FrontPage,
  type FrontPageStep,
  isHealthy,
  NO_KEY,
  WHAT_IT_IS,
} from './front-page.ts';

const STYLE = `
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--paper:#fff;--box:#f4f5f7;--line:#d5d9de;--link:#0b57b0;--good:#1a7f37;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a3abb5;--paper:#14171a;--box:#1f2428;--line:#3a4148;--link:#7ab7ff;--good:#5fd27a;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:52rem;padding:1.25rem 1rem 3rem;font:1rem/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
h1{font-size:1.7rem;margin:0 0 .25rem}
h2{font-size:1.2rem;margin:2rem 0 .5rem}
p{margin:.5rem 0}
a{color:var(--link)}
a:focus-visible,summary:focus-visible{outline:3px solid var(--link);outline-offset:2px}
code,pre{font-family:ui-monospace,monospace;font-size:.9rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--box);border:1px solid var(--line);border-radius:.4rem;padding:.7rem .8rem;margin:.5rem 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.35rem 1rem;margin:1rem 0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
details{border:1px solid var(--line);border-radius:.4rem;padding:0 .8rem;margin:.5rem 0}
summary{cursor:pointer;padding:.7rem 0;font-weight:600}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .6rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td:first-child{overflow-wrap:anywhere}
th{color:var(--soft);font-weight:500}
.good{color:var(--good);font-weight:600}
.bad{color:var(--bad);font-weight:600}
@media (max-width:30rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}}
`;

/** Nothing from outside, no script, no form, no frame; the one style is known by its hash. */
export const FRONT_PAGE_POLICY = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

const SHOWN_ROOTS = 200;

/** The first page for browsers: one file that needs nothing else. */
export function frontPageHtml(page: FrontPage): string {
  const { url, status, nixConf } = page;
  const keys = status.publicKeys.map(
    (key, position) =>
      `<dt>${position === 0 ? 'Public key' : 'Former key'}</dt><dd><code>${escapeHtml(key)}</code></dd>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Nixferry at ${escapeHtml(url.replace(/^https?:\/\//, ''))}</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>Nixferry</h1>
<p>${WHAT_IT_IS}</p>
</header>
<main>
<dl>
<dt>Address</dt><dd><code>${escapeHtml(url)}</code></dd>
<dt>Store</dt><dd><code>${escapeHtml(status.storeDir)}</code></dd>
${keys.join('\n')}
<dt>Health</dt><dd>${health(page)}</dd>
${upstreams(page)}</dl>
<h2 id="use">Use it</h2>
${nixConf === undefined ? `<p>${NO_KEY}</p>` : clientSteps(page).map(step).join('\n')}
${nixConf === undefined ? '' : whole(nixConf)}
<h2 id="here">What is here</h2>
${contents(page)}
<h2 id="more">For programs</h2>
<p><a href="nix-cache-info">nix-cache-info</a>, <a href="nixferry/status.json">status</a>, <a href="flake-registry.json">flake registry</a>, <a href="nixferry/evaluation-inputs.txt">evaluation inputs</a>, <a href="readyz">readiness</a>, <a href="nix.conf">nix.conf</a>, <a href="client.nix">client.nix</a></p>
</main>
</body>
</html>
`;
}

function upstreams(page: FrontPage): string {
  const asked = page.proxy?.upstreams ?? [];
  if (asked.length === 0) return '';
  const lines = asked.map((upstream) => `<code>${escapeHtml(describeUpstream(upstream))}</code>`);
  return `<dt>Fetches from</dt><dd>${[...lines, amountFetched(page) ?? ''].join('<br>')}</dd>\n`;
}

function health(page: FrontPage): string {
  if (isHealthy(page)) return '<span class="good">ready</span>';
  const reasons = page.checks
    .filter(({ ok }) => !ok)
    .map(({ name, reason = '' }) => `${escapeHtml(name)}: ${escapeHtml(reason)}`);
  return `<span class="bad">not ready</span> (${reasons.join('; ')})`;
}

function step({ title, text, lines }: FrontPageStep, position: number): string {
  const open = position === 0 ? ' open' : '';
  return `<details${open}><summary>${escapeHtml(title)}</summary><p>${escapeHtml(text)}</p>${code(lines.join('\n'))}</details>`;
}

function whole(nixConf: string): string {
  return `<details><summary>All lines for nix.conf, with their reasons</summary>${code(nixConf.trimEnd())}</details>`;
}

function code(text: string): string {
  return `<pre><code>${escapeHtml(text)}</code></pre>`;
}

function contents(page: FrontPage): string {
  const { status } = page;
  const local = status.localStore
    ? '<p>Beside the mirror, everything that is valid in the store of the server itself.</p>'
    : '';
  const here = amountHere(page);
  const amount =
    here === undefined ? '' : `<p>The mirror holds ${here}, for ${formatCount(status.roots.length, 'root')}.</p>`;
  const none =
    page.proxy === undefined
      ? 'The mirror has no roots yet.'
      : 'There are no roots: what is here came because clients asked for it.';
  if (status.roots.length === 0) return `${local}${amount}<p>${none}</p>`;
  const rows = status.roots.slice(0, SHOWN_ROOTS).map(({ name, scope, complete, pathCount }) => {
    const state = complete ? '<span class="good">complete</span>' : '<span class="bad">not complete</span>';
    return `<tr><td>${escapeHtml(name)}</td><td>${escapeHtml(scope)}</td><td>${formatNumber(pathCount)}</td><td>${state}</td></tr>`;
  });
  const more = status.roots.length > SHOWN_ROOTS ? `<p>… and ${status.roots.length - SHOWN_ROOTS} more.</p>` : '';
  return `${local}${amount}<table><thead><tr><th scope="col">Root</th><th scope="col">Scope</th><th scope="col">Paths</th><th scope="col">State</th></tr></thead><tbody>${rows.join('')}</tbody></table>${more}`;
}

function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}
