import type { Command } from 'commander';
import { formatCount } from '../../base/amounts.ts';
import { EXIT } from '../../base/errors.ts';
import { openMirror } from '../../mirror/mirror.ts';
import { type AcknowledgeResult, acknowledgeReceipt } from '../../shipment/acknowledge.ts';
import { addCommonOptions, type CommonOptions, collectValues, readCommonOptions } from '../common-options.ts';
import type { CommandRun } from '../run.ts';
import { readPublicKey } from '../upstream-options.ts';

interface AckOptions extends CommonOptions {
  readonly trust?: readonly string[];
  readonly site?: string;
  readonly restored?: boolean;
}

export function define(command: Command, run: CommandRun): void {
  command
    .argument('<receipt>', 'what nixferry receipt wrote on the isolated side: the file, or the folder that holds it')
    .option(
      '--trust <key>',
      'key of the site, name:base64, compared by another way than the medium; once',
      collectValues,
    )
    .option('--site <name>', 'refuse a receipt of any other site')
    .option('--restored', 'take a receipt older than the last one: the site was restored from a backup');
  addCommonOptions(command, [
    'nixferry ack /media/stick',
    'nixferry ack receipt-ship-0001.nixferry --trust ship-1:8pV3...',
  ]).action((receipt: string, options: AckOptions) => ack(receipt, options, run));
}

async function ack(path: string, options: AckOptions, { output, signal }: CommandRun): Promise<void> {
  const { mirrorDirectory } = await readCommonOptions(options);
  const trust = (options.trust ?? []).map(readPublicKey);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry ack' });
  for (const warning of mirror.warnings) output.warn(warning);
  const { site, restored } = options;
  const result = await acknowledgeReceipt({ mirror, receipt: path, site, trust, restored, signal });
  output.say(describe(result));
  const { header, digest } = result.receipt;
  output.verdict(EXIT.complete, {
    site: header.site,
    siteKey: header.siteKey,
    counter: header.counter,
    digest,
    wasKnown: result.wasKnown,
    replacedCounter: result.replacedCounter,
    paths: header.paths.count,
    shipments: header.shipments,
  });
}

function describe({ receipt, wasKnown }: AcknowledgeResult): string {
  const { site, counter, paths, shipments } = receipt.header;
  const what = `receipt ${counter} of ${site}`;
  if (wasKnown) return `complete: ${what} was acknowledged before`;
  const partial = shipments.filter((shipment) => !shipment.complete).map(({ sequence }) => sequence);
  return [
    `complete: ${what}: it holds ${formatCount(paths.count, 'path')} and received ${formatCount(shipments.length, 'shipment')}`,
    ...(partial.length === 0 ? [] : [`  only in part: ${partial.join(', ')}`]),
    `next: nixferry pack --site ${site} --to DIR sends what it lacks`,
  ].join('\n');
}
