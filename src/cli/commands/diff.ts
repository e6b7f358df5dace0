import type { Command } from 'commander';
import { EXIT } from '../../base/errors.ts';
import { diffPage } from '../../shipment/describe/diff-page.ts';
import { diffText, type ShipmentDiff } from '../../shipment/describe/diff-text.ts';
import { heldAgainst, heldBefore, heldBy } from '../../shipment/describe/held-before.ts';
import { diffHoldings } from '../../shipment/describe/shipment-diff.ts';
import { signatureWords } from '../../shipment/describe/show-words.ts';
import { signatureState } from '../../shipment/describe/signature-state.ts';
import { stageShipment } from '../../shipment/describe/staged-shipment.ts';
import { addCommonOptions, type CommonOptions, collectValues } from '../common-options.ts';
import type { CommandRun } from '../run.ts';
import {
  GENERATOR,
  openMirrorIfThere,
  printPieces,
  readSenderKeys,
  refuseFilesInShipment,
  refuseWrongSignature,
  writeReport,
} from '../showing.ts';
import { signatureFields } from './show.ts';

interface DiffOptions extends CommonOptions {
  readonly against?: string;
  readonly paths?: boolean;
  readonly html?: string;
  readonly trust?: readonly string[];
}

export function define(command: Command, run: CommandRun): void {
  command
    .argument('<dirs...>', 'the shipment; several folders where its volumes lie apart')
    .option('--against <dir>', 'another shipment, or a mirror, to compare with (default: what the site held before)')
    .option('--paths', 'list every path that comes or goes, not only the packages')
    .option('--html <file>', 'write it as one page that opens anywhere, without network or scripts')
    .option(
      '--trust <key>',
      "the sender's key, name:base64, to verify the signature with; repeat for more",
      collectValues,
    );
  addCommonOptions(command, [
    'nixferry diff /media/stick',
    'nixferry diff /media/stick --against /media/last-month --html changes.html',
  ]).action((folders: string[], options: DiffOptions) => diff(folders, options, run));
}

async function diff(folders: readonly string[], options: DiffOptions, run: CommandRun): Promise<void> {
  const { output, signal } = run;
  const { against, html, paths = false, trust = [] } = options;
  await using staged = await stageShipment(folders, signal);
  const { shipment, manifest } = staged;
  refuseFilesInShipment([html], shipment.folder);
  await using mirror = await openMirrorIfThere(options, output);
  output.onProgress({ type: 'phase', phase: 'read the inventory' });
  await staged.checkInventory(() => {});
  const after = await heldBy(staged);
  output.onProgress({ type: 'phase', phase: 'compare' });
  const before = { staged, after, mirror, signal };
  const { paths: held, words } = await (against === undefined ? heldBefore(before) : heldAgainst(against, before));
  const signature = signatureState(shipment, await readSenderKeys(mirror, trust));
  const found: ShipmentDiff = {
    ...diffHoldings(held, after),
    manifest,
    folder: shipment.folder,
    signature: signatureWords(signature, shipment.folder),
    comparedWith: words,
  };
  output.onProgress({ type: 'phase', phase: '' });
  await printPieces(diffText(found, paths), run);
  for (const one of found.packages) output.event('package', { ...one });
  if (output.json) {
    const { packages, manifest: _, signature: __, ...rest } = found;
    const { site, sender, sequence } = manifest;
    const fields = { site, sender, sequence, packageCount: packages.length, signature: signatureFields(signature) };
    output.result('', { ...rest, ...fields });
  }
  if (html !== undefined) await writeReport(html, diffPage(found, GENERATOR), run);
  refuseWrongSignature(signature, shipment.folder, trust);
  output.verdict(EXIT.complete, { signature: signature.kind });
}
