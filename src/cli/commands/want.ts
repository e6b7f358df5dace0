import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { formatBytes, formatCount } from '../../base/amounts.ts';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { readFileIfExists, writeFileAtomic } from '../../base/files.ts';
import { LIMITS } from '../../base/limits.ts';
import { openMirror } from '../../mirror/mirror.ts';
import { fingerprintWords } from '../../shipment/fingerprint-words.ts';
import { checkSiteName } from '../../shipment/format.ts';
import { gatherDerivations, gatherMisses } from '../../shipment/gather-wants.ts';
import { readSiteName } from '../../shipment/site-name.ts';
import { formatWantList, isWantList } from '../../shipment/want-list.ts';
import { addCommonOptions, type CommonOptions, collectValues, readCommonOptions } from '../common-options.ts';
import type { CommandRun } from '../run.ts';

interface WantOptions extends CommonOptions {
  readonly to: string;
  readonly drv?: readonly string[];
  readonly site?: string;
}

export function define(command: Command, run: CommandRun): void {
  command
    .requiredOption('--to <path>', 'the file, or the folder in which one is made')
    .option(
      '--drv <file>',
      'a .drv file that Nix could not build, in a store or copied with all that it refers to; repeat for more',
      collectValues,
    )
    .option('--site <name>', 'the name of this site, where no shipment has told it yet');
  addCommonOptions(command, [
    'nixferry want --to /media/stick',
    'nixferry want --to /media/stick --drv /nix/store/…-nixos-system-web01.drv',
  ]).action((options: WantOptions) => want(options, run));
}

const NO_NOTES =
  'no server has ever noted here that a client asked for something in vain. Only nixferry serve does so, not a web server or file://; one that was started before Nixferry was updated has to be stopped and started again';

async function want(options: WantOptions, { output, signal }: CommandRun): Promise<void> {
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', command: 'nixferry want' });
  for (const warning of mirror.warnings) output.warn(warning);
  const site = (await readSiteName(mirror)) ?? (options.site === undefined ? undefined : checkSiteName(options.site));
  if (site === undefined) {
    throw new NixferryError('usage', `the mirror ${mirror.directory} does not know the name of its site yet`, {
      hint: 'import a shipment first, or name the site: nixferry want --site NAME --to DIR',
    });
  }
  const { storeDir } = mirror;
  const { targets, derivations } = await gatherDerivations(options.drv ?? [], storeDir, signal);
  const notes = await gatherMisses(mirror);
  const misses = notes ?? [];
  if (notes === undefined) output.warn(NO_NOTES);
  const contents = { site, storeDir, misses: [...misses], targets: [...targets], derivations };
  const bytes = await formatWantList(contents, mirror.secretKey);
  const file = await chooseFile(options.to, site);
  await writeFileAtomic(file, bytes);
  const words = fingerprintWords(mirror.publicKey).join(' ');
  output.say(
    [
      `complete: ${notes === undefined ? '' : `${formatCount(misses.length, 'thing')} that clients asked for in vain, `}${formatCount(targets.length, 'derivation')} that could not be built (${formatBytes(bytes.length)})`,
      `  ${file}`,
      'next, on the connected side:',
      '  nixferry collect --want FILE, then nixferry pack',
      'Where no receipt of this site was acknowledged there, the sender is shown its key as words; compare them with him:',
      `  ${words}`,
    ].join('\n'),
  );
  output.verdict(EXIT.complete, {
    file,
    site,
    misses: misses.length,
    hasNotes: notes !== undefined,
    targets: targets.length,
    sizeBytes: bytes.length,
  });
}

/** A want list that is there already is replaced; anything else is not. */
async function chooseFile(to: string, site: string): Promise<string> {
  const isFolder = to.endsWith('/') || (await stat(to).catch(() => undefined))?.isDirectory() === true;
  const file = isFolder ? join(resolve(to), `want-${site}.nixferry`) : resolve(to);
  const known = await readFileIfExists(file, LIMITS.wantBytes);
  if (known === undefined || isWantList(known)) return file;
  throw new NixferryError('target-occupied', `${file} already holds something else; nothing was overwritten`, {
    hint: 'name another file or a folder with --to',
  });
}
