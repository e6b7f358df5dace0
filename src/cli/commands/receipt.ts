import type { Command } from 'commander';
import { formatCount } from '../../base/amounts.ts';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { type Mirror, openMirror } from '../../mirror/mirror.ts';
import { fingerprintWords } from '../../shipment/fingerprint-words.ts';
import { checkSiteName } from '../../shipment/format.ts';
import { renewReceipt } from '../../shipment/renew-receipt.ts';
import { readSiteName, writeSiteName } from '../../shipment/site-name.ts';
import { writeReceipt } from '../../shipment/write-receipt.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions } from '../common-options.ts';
import type { CommandRun } from '../run.ts';

interface ReceiptOptions extends CommonOptions {
  readonly to: string;
  readonly site?: string;
}

export function define(command: Command, run: CommandRun): void {
  command
    .requiredOption('--to <path>', 'the file, or the folder in which one is made')
    .option('--site <name>', 'the name of this site, where no shipment has told it yet');
  addCommonOptions(command, ['nixferry receipt --to /media/stick']).action((options: ReceiptOptions) =>
    receipt(options, run),
  );
}

async function receipt(options: ReceiptOptions, { output }: CommandRun): Promise<void> {
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry receipt' });
  for (const warning of mirror.warnings) output.warn(warning);
  if (options.site !== undefined) await nameSite(mirror, checkSiteName(options.site));
  const made = await renewReceipt(mirror);
  const file = await writeReceipt(made, options.to);
  const { site, counter, siteKey, paths, shipments } = made.header;
  const words = fingerprintWords(made.key).join(' ');
  output.say(
    [
      `complete: receipt ${counter} of ${site}: ${formatCount(paths.count, 'path')} held, ${formatCount(shipments.length, 'shipment')} received`,
      `  ${file}`,
      'next, on the connected side:',
      '  nixferry ack DIR',
      'The first time the sender is shown this key as words; compare them with him by telephone or on paper:',
      `  ${words}`,
    ].join('\n'),
  );
  output.verdict(EXIT.complete, { file, site, counter, siteKey, words, digest: made.digest, paths: paths.count });
}

async function nameSite(mirror: Mirror, site: string): Promise<void> {
  const known = await readSiteName(mirror);
  if (known === undefined) await writeSiteName(mirror, site);
  else if (known !== site) {
    throw new NixferryError(
      'wrong-site',
      `the mirror ${mirror.directory} belongs to the site ${known}, not to ${site}`,
      {
        hint: 'leave out --site, or name the mirror of the other site with --mirror DIR',
      },
    );
  }
}
