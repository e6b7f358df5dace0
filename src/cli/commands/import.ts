import type { Command } from 'commander';
import { formatCount, formatNumber } from '../../base/amounts.ts';
import { type ErrorCode, EXIT, NixferryError } from '../../base/errors.ts';
import { keepHeapSmall } from '../../base/garbage-collection.ts';
import { distinctNames } from '../../mirror/distinct-names.ts';
import { type Mirror, openMirror } from '../../mirror/mirror.ts';
import { formatPublicKey, type PublicKey } from '../../nix/index.ts';
import { type ImportResult, importShipment } from '../../shipment/import.ts';
import { importProblem } from '../../shipment/import-problem.ts';
import { manifestOfShipment, readShipment, separateShipments } from '../../shipment/read-shipment.ts';
import { authenticate } from '../../shipment/sender.ts';
import { addCommonOptions, type CommonOptions, collectValues, readCommonOptions } from '../common-options.ts';
import type { CommandRun } from '../run.ts';
import { readPublicKey } from '../upstream-options.ts';

interface ImportOptions extends CommonOptions {
  readonly trust?: readonly string[];
  readonly site?: string;
  readonly requireOriginSignature?: boolean;
  readonly trustedPublicKey?: readonly string[];
}

export function define(command: Command, run: CommandRun): void {
  command
    .argument('<dirs...>', 'the medium; several folders where its volumes lie apart')
    .option(
      '--trust <key>',
      'key of the sender, name:base64, taken over by another way than the medium; once',
      collectValues,
    )
    .option('--site <name>', 'the name of this site (default: that of the first shipment)')
    .option(
      '--require-origin-signature',
      'want a signature by a trusted upstream key for every path, not only the word of the sender',
    )
    .option('--trusted-public-key <key>', 'an upstream key that counts for that; repeat for more', collectValues);
  addCommonOptions(command, [
    'nixferry import /media/stick --trust office-1:8pV3...',
    'nixferry import /media/stick',
    'nixferry import /media/disc                   # one disc after the other, disc 1 first',
    'nixferry import /media/cdrom0 /media/cdrom1   # or all at once',
  ]).action((directories: string[], options: ImportOptions) => importCommand(directories, options, run));
}

/** One shipment, or all that lie on a medium, in their order. */
async function importCommand(given: readonly string[], options: ImportOptions, run: CommandRun): Promise<void> {
  keepHeapSmall();
  const { output } = run;
  const { mirrorDirectory } = await readCommonOptions(options);
  const trust = (options.trust ?? []).map(readPublicKey);
  const [only] = given;
  const shipments = given.length === 1 && only !== undefined ? await separateShipments(only) : [given];
  await using mirror = await openOrMake(mirrorDirectory, shipments[0] ?? given, trust);
  for (const warning of mirror.warnings) output.warn(warning);
  let fields = {};
  for (let pending = shipments; pending.length > 0; ) {
    // What one builds on, or lacks, may come with another one that was made after it.
    const waiting: Waiting[] = [];
    for (const directories of pending) {
      const { problem, ...imported } = await importOne(mirror, directories, trust, options, run);
      if (problem !== undefined && CURABLE.has(problem.code)) waiting.push({ directories, problem });
      else if (problem !== undefined) throw problem;
      else fields = imported.fields;
    }
    if (waiting.length === pending.length) throw waiting[0]?.problem;
    pending = waiting.map((one) => one.directories);
  }
  output.verdict(EXIT.complete, { shipments: shipments.length, ...fields });
}

/** What another shipment may make up for. */
const CURABLE: ReadonlySet<ErrorCode> = new Set(['basis-missing', 'import-partial', 'damage']);

interface Waiting {
  readonly directories: readonly string[];
  readonly problem: NixferryError;
}

async function importOne(
  mirror: Mirror,
  directories: readonly string[],
  trust: readonly PublicKey[],
  options: ImportOptions,
  { output, signal }: CommandRun,
): Promise<{ readonly fields: Record<string, unknown>; readonly problem: NixferryError | undefined }> {
  const result = await importShipment({
    mirror,
    directories,
    trust,
    site: options.site,
    requireOriginSignature: options.requireOriginSignature,
    originKeys: (options.trustedPublicKey ?? []).map(readPublicKey),
    onProgress: output.onProgress,
    signal,
  });
  output.onProgress({ type: 'phase', phase: '' });
  const problem = importProblem(result);
  output.event('import', fieldsOf(result));
  for (const line of remarks(result)) output.warn(line);
  if (problem === undefined) output.say(describe(result, mirror));
  return { fields: fieldsOf(result), problem };
}

/**
 * A mirror that is not there yet is made for the store folder of the shipment, and its key is named after the site; but only once
 * the sender is known to be trusted.
 */
async function openOrMake(directory: string, media: readonly string[], trust: readonly PublicKey[]): Promise<Mirror> {
  const common = { access: 'write', command: 'nixferry import' } as const;
  try {
    return await openMirror(directory, common);
  } catch (error) {
    if (!(error instanceof NixferryError) || error.code !== 'not-a-mirror') throw error;
  }
  const shipment = await readShipment(media);
  authenticate(shipment, trust);
  const { storeDir, site } = manifestOfShipment(shipment);
  return openMirror(directory, { ...common, create: true, storeDir, keyName: `${site}-1` });
}

function describe(result: ImportResult, mirror: Mirror): string {
  const { manifest, importedPaths, presentPaths, roots } = result;
  const what = `shipment ${manifest.sequence} from ${manifest.sender} for ${manifest.site}`;
  const names = distinctNames(roots)
    .map((name) => `  ${name}`)
    .join('\n');
  if (result.alreadyImported) return `complete: ${what} was imported before, and all of it is here:\n${names}`;
  return [
    `complete: ${what}: ${formatCount(importedPaths, 'path')} new, ${formatNumber(presentPaths)} here before`,
    names,
    'its clients need this key, and no other:',
    `  ${formatPublicKey(mirror.publicKey)}`,
    'next: nixferry serve --listen :8080',
    'for its clients: nixferry client-config --url http://SERVER:8080 prints here what is to be pasted there;',
    `where something can go back: nixferry receipt --to DIR (this is receipt ${result.receipt.header.counter})`,
  ].join('\n');
}

/** What a person should know whether the import is whole or not. */
function remarks({ seemsRestored, healed, manifest }: ImportResult): string[] {
  const { site, sender } = manifest;
  return [
    ...healed.map(({ sender: of, sequence, complete, roots }) => {
      const what = `shipment ${sequence} of ${of}`;
      return complete
        ? `${what} is complete now: ${roots.join(', ')}`
        : `of ${what} these roots are complete now: ${roots.join(', ')}`;
    }),
    ...(seemsRestored
      ? [
          `${sender} has seen later receipts of ${site} than this mirror ever gave: was it restored from a backup, or is there a second mirror of that name? next: nixferry receipt --to DIR, and nixferry ack DIR on the connected side`,
        ]
      : []),
  ];
}

function fieldsOf({ folder, manifest, ...result }: ImportResult): Record<string, unknown> {
  return {
    folder,
    site: manifest.site,
    sender: formatPublicKey(result.sender),
    sequence: manifest.sequence,
    manifestSha256: result.manifestSha256,
    alreadyImported: result.alreadyImported,
    importedPaths: result.importedPaths,
    presentPaths: result.presentPaths,
    roots: result.roots.map(({ name, request, scope, complete }) => ({ name, request, scope, complete })),
    missingNeeds: result.missingNeeds,
    healed: result.healed,
    receipt: { counter: result.receipt.header.counter, digest: result.receipt.digest },
    seemsRestored: result.seemsRestored,
    failures: result.failures,
  };
}
