import { formatCount } from '../base/amounts.ts';
import { printable } from '../base/printable.ts';
import { describeUpstream } from '../proxy/upstream-words.ts';
import { amountFetched, amountHere, clientSteps, type FrontPage, isHealthy, NO_KEY, WHAT_IT_IS } from './front-page.ts';

/** The first page for curl. */
export function frontPageText(page: FrontPage): string {
  const { url, status, checks, nixConf } = page;
  const lines = ['Nixferry', '', WHAT_IT_IS, '', `address: ${url}`, `store:   ${status.storeDir}`];
  for (const [position, key] of status.publicKeys.entries())
    lines.push(`${position === 0 ? 'key:     ' : 'and:     '}${key}`);
  lines.push(`health:  ${isHealthy(page) ? 'ready' : 'NOT READY'}`);
  for (const { ok, name, reason } of checks) if (!ok) lines.push(`         ${name}: ${printable(reason ?? '')}`);
  if (status.localStore) lines.push("also:    what is valid in this server's own store");
  for (const upstream of page.proxy?.upstreams ?? []) lines.push(`fetches: ${printable(describeUpstream(upstream))}`);
  const [here, fetched] = [amountHere(page), amountFetched(page)];
  if (fetched !== undefined) lines.push(`         ${fetched}`);
  if (here !== undefined) lines.push(`holds:   ${here}`);
  lines.push('', formatCount(status.roots.length, 'root'));
  for (const { name, scope, complete } of status.roots) {
    lines.push(`  ${printable(name)} (${scope}${complete ? '' : ', NOT complete'})`);
  }
  for (const step of clientSteps(page))
    lines.push('', `${step.title}: ${step.text}`, ...step.lines.map((line) => `  ${line}`));
  lines.push('', nixConf === undefined ? NO_KEY : `For /etc/nix/nix.conf on a client:\n\n${nixConf.trimEnd()}`);
  return `${lines.join('\n')}\n`;
}
