import type { Command } from 'commander';
import { formatBytes, formatCount, formatNumber } from '../../base/amounts.ts';
import { EXIT } from '../../base/errors.ts';
import { openMirror } from '../../mirror/mirror.ts';
import { type InterruptedWork, type MirrorStatus, mirrorStatus } from '../../mirror/status.ts';
import { formatPublicKey } from '../../nix/index.ts';
import { formatSequences } from '../../shipment/sequence-ranges.ts';
import { readSiteName } from '../../shipment/site-name.ts';
import { type SiteStatus, siteStatuses } from '../../shipment/site-status.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions } from '../common-options.ts';
import { formatTable } from '../format.ts';
import type { CommandRun } from '../run.ts';

const SHOWN_ROOTS = 30;

export function define(command: Command, run: CommandRun): void {
  addCommonOptions(command, ['nixferry status']).action((options: CommonOptions) => status(options, run));
}

async function status(options: CommonOptions, { output }: CommandRun): Promise<void> {
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'read' });
  const found = await mirrorStatus(mirror);
  const site = await readSiteName(mirror);
  const sites = await siteStatuses(mirror);
  const publicKey = found.publicKey === undefined ? undefined : formatPublicKey(found.publicKey);
  output.result(`${describe(found, publicKey, site)}${describeSites(sites)}`, {
    ...found,
    site,
    sites,
    publicKey,
    trustedUpstreams: found.trustedUpstreams.map(formatPublicKey),
    trustedSenders: found.trustedSenders.map(formatPublicKey),
  });
  for (const warning of found.warnings) output.warn(warning);
  output.verdict(EXIT.complete, {});
}

function describe(found: MirrorStatus, publicKey: string | undefined, site: string | undefined): string {
  const { totals } = found;
  const facts = [
    ['mirror', found.directory],
    ['store folder', found.storeDir],
    ...(site === undefined ? [] : [['site', site]]),
    [
      'paths',
      `${formatNumber(totals.paths)} (${formatBytes(totals.fileBytes)} here, ${formatBytes(totals.narBytes)} unpacked)`,
    ],
    ...describeFetched(found),
    ['free', formatBytes(found.freeBytes)],
    ['key', publicKey ?? 'none yet: nixferry init makes one'],
    ...found.trustedSenders.map((key) => ['trusted sender', formatPublicKey(key)]),
    ...found.trustedUpstreams.map((key) => ['trusted upstream', formatPublicKey(key)]),
    ...describeInterrupted(found.interrupted),
  ];
  return `${formatTable(facts)}\n\n${describeRoots(found)}`;
}

/** What nobody has collected or imported as a root. */
function describeFetched({ pathsInNoRoot, pathsWaiting }: MirrorStatus): string[][] {
  const rows: string[][] = [];
  if (pathsInNoRoot > 0) {
    rows.push([
      'of no root',
      `${formatCount(pathsInNoRoot, 'path')}, as the caching proxy fetches them: nixferry pack --cached takes them along`,
    ]);
  }
  if (pathsWaiting > 0) {
    rows.push([
      'waiting',
      `${formatCount(pathsWaiting, 'path')} that the proxy fetched: shown when what they refer to is here`,
    ]);
  }
  return rows;
}

function describeRoots({ roots }: MirrorStatus): string {
  if (roots.length === 0) return 'no roots yet: nixferry collect ROOT, or nixferry import DIR';
  const rows = roots
    .slice(0, SHOWN_ROOTS)
    .map((root) => [
      root.name,
      root.complete ? 'complete' : 'NOT complete',
      `scope ${root.scope}`,
      formatCount(root.pathCount, 'path'),
      root.shipment === undefined
        ? 'collected'
        : `imported from ${root.shipment.sender}, shipment ${root.shipment.sequence}`,
      root.request === root.name ? '' : root.request,
    ]);
  const more = roots.length > SHOWN_ROOTS ? `\n... and ${roots.length - SHOWN_ROOTS} more (--json lists all)` : '';
  return `${formatCount(roots.length, 'root')}\n${formatTable(rows, [3])}${more}`;
}

function describeSites(sites: readonly SiteStatus[]): string {
  if (sites.length === 0) return '';
  const rows = sites.map((one) => [
    one.site,
    one.lastSequence === undefined ? 'nothing sent' : `last shipment ${one.lastSequence}`,
    one.receiptCounter === undefined
      ? 'no receipt yet'
      : `receipt ${one.receiptCounter}: ${one.acknowledged === undefined ? 'none arrived' : `shipment ${one.acknowledged} arrived`}`,
    [
      ...(one.unacknowledged.length === 0 ? [] : [`not acknowledged: ${formatSequences(one.unacknowledged)}`]),
      ...(one.lost.length === 0 ? [] : [`did not arrive whole: ${formatSequences(one.lost)}`]),
    ].join('; '),
  ]);
  return `\n\n${formatCount(sites.length, 'site')} fed from here\n${formatTable(rows)}`;
}

function describeInterrupted(work: InterruptedWork): string[][] {
  const rows: string[][] = [];
  if (work.partialFiles > 0) {
    rows.push([
      'unfinished',
      `${formatCount(work.partialFiles, 'file')}, ${formatBytes(work.partialBytes)}: the same command goes on with them`,
    ]);
  }
  if (work.quarantined > 0)
    rows.push(['unfinished', `${formatCount(work.quarantined, 'import')}: import the same shipment again`]);
  if (work.damaged + work.withheld > 0) {
    rows.push(['DAMAGED', `${work.damaged} damaged, ${work.withheld} withheld because of them: nixferry verify`]);
  }
  return rows;
}
