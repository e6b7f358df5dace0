import { basename } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { formatBytes, formatCount } from '../base/amounts.ts';
import { EXIT, NixferryError } from '../base/errors.ts';
import { keepHeapSmall } from '../base/garbage-collection.ts';
import { quoteForShell } from '../base/shell-word.ts';
import type { Config } from '../config/config.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { nixRootSystem } from '../mirror/nix-root.ts';
import { formatPublicKey } from '../nix/index.ts';
import { CHECKSUMS_FILE, checkSiteName, INSTALLER_FILE } from '../shipment/format.ts';
import { MEDIA } from '../shipment/media.ts';
import { type PackResult, packShipment } from '../shipment/pack.ts';
import type { PackBasis } from '../shipment/pack-basis.ts';
import type { PackedRoot } from '../shipment/pack-plan.ts';
import { formatSequences } from '../shipment/sequence-ranges.ts';
import { readTools, type Tools } from '../shipment/tools.ts';
import { formatInstaller } from '../shipment/with-nix-script.ts';
import { addBasisOptions, type BasisOptions } from './basis-options.ts';
import { checkMedium } from './check-medium.ts';
import { type CommonOptions, sizeInBytes } from './common-options.ts';
import { parseSize } from './format.ts';
import type { CommandRun } from './run.ts';
import { toolsFolder } from './tools-folder.ts';
import { readVersion } from './version.ts';

// What pack and export share: where the shipment goes, and what is said when it is written.

export interface PackOptions extends CommonOptions, BasisOptions {
  readonly to: string;
  readonly site?: string;
  readonly volumeSize?: number;
  /** What a disc holds; undefined where the shipment is one folder. */
  readonly medium?: { readonly discBytes: number | undefined };
  readonly tools: boolean;
  readonly withNix?: boolean;
}

export function addPackOptions(command: Command): Command {
  command
    .requiredOption('--to <dir>', 'the medium: a folder of its own for the shipment is made in it')
    .option('--site <name>', 'the site that the shipment is for (default: site of nixferry.toml)')
    .option(
      '--medium <name>',
      `lay the shipment out on discs: ${[...MEDIA.keys()].join(', ')}, or what a disc holds, such as 16GB (default: fat32, one folder)`,
      medium,
    )
    .option(
      '--volume-size <size>',
      'the most that one file of the shipment takes (default: 512MiB, or a small part of a disc)',
      sizeInBytes,
    )
    .option('--no-tools', 'leave out Nixferry itself (140 MB), which the other side needs if it has none as new')
    .option(
      '--with-nix',
      'carry Nix along, as get-nix has brought it, and a script that installs it where there is none',
    );
  return addBasisOptions(command);
}

function medium(value: string): { discBytes: number | undefined } {
  const name = value.toLowerCase();
  if (MEDIA.has(name)) return { discBytes: MEDIA.get(name) };
  const discBytes = parseSize(value);
  if (discBytes !== undefined && discBytes > 0) return { discBytes };
  throw new InvalidArgumentError(`It must be one of ${[...MEDIA.keys()].join(', ')}, or a size such as 16GB.`);
}

/** What a shipment needs beside the mirror: the other side's name, and the Nixferry to carry along. */
export interface Packing {
  readonly site: string;
  readonly tools: Tools | undefined;
}

/** Asked for before any work is done. Throws `usage` without a site, and `tools-missing`. */
export async function readPacking(options: PackOptions, config: Config): Promise<Packing> {
  keepHeapSmall();
  const site = options.site ?? config.site;
  if (site === undefined) {
    throw new NixferryError('usage', 'no site is named', {
      hint: 'give the other side a name that stays, such as --site plant-7; its shipments are numbered by it',
    });
  }
  checkSiteName(site);
  checkMedium(options.to);
  return { site, tools: options.tools ? await readTools(toolsFolder()) : undefined };
}

/** Which roots, and on what the shipment builds. */
export interface PackOrder {
  readonly roots: readonly PackedRoot[];
  readonly basis: PackBasis;
  /** Roots that were meant as well, but are not complete. */
  readonly leftOut?: readonly Pick<PackedRoot, 'name' | 'request'>[];
}

/** Packs, and says what to do with the result. */
export async function packAndReport(
  mirror: Mirror,
  order: PackOrder,
  options: PackOptions,
  { site, tools }: Packing,
  { output, signal, finish }: CommandRun,
): Promise<void> {
  const { roots, basis, leftOut = [] } = order;
  const carriesNix = roots.some((root) => nixRootSystem(root) !== undefined);
  const result = await packShipment({
    mirror,
    roots,
    basis,
    installer: carriesNix ? formatInstaller() : undefined,
    to: options.to,
    site,
    volumeSizeBytes: options.volumeSize,
    discBytes: options.medium?.discBytes,
    tools,
    generator: `nixferry ${readVersion()}`,
    created: new Date(),
    onProgress: output.onProgress,
    signal,
  });
  output.onProgress({ type: 'phase', phase: '' });
  const { totals, volumes, sequence } = result.manifest;
  const key = formatPublicKey(mirror.publicKey);
  const toolsSha256 = result.manifest.tools.find(({ name }) => name === CHECKSUMS_FILE)?.sha256;
  output.say(
    [
      `complete: shipment ${sequence} for ${site}: ${formatCount(totals.pathCount, 'path')} in ${formatCount(volumes.length, 'volume')}, ${formatBytes(totals.volumesSizeBytes)}, written and read back`,
      `  ${describeBasis(result)}`,
      ...rehearsalLines(result),
      ...whereItIs(result),
      'next, on the isolated side:',
      `  ${importCommand(result, key)}`,
      ...(carriesNix ? [`and where there is no Nix: ${installCommand(result, key)}`] : []),
      'The key is what makes the other side believe the medium: take it over by another way, once.',
      ...(toolsSha256 === undefined
        ? []
        : [`The Nixferry on it is the one whose tools/SHA256SUMS has the sha256 ${toolsSha256}`]),
    ].join('\n'),
  );
  if (leftOut.length > 0)
    output.warn(
      `not complete: of the roots, not packed: ${leftOut.map(({ name }) => name).join(', ')}\nnext:  nixferry check ${quoteForShell(leftOut[0]?.name ?? '')} says what it lacks; collect it again, then pack`,
    );
  const exitCode = leftOut.length > 0 ? EXIT.partial : EXIT.complete;
  finish(exitCode);
  output.verdict(exitCode, {
    leftOut: leftOut.map(({ name, request }) => ({ name, request })),
    folder: result.folder,
    site,
    sequence,
    manifestSha256: result.manifestSha256,
    basis: result.manifest.basis,
    lost: result.manifest.lost,
    rehearsals: result.manifest.rehearsals ?? [],
    outdatedRehearsals: result.outdatedRehearsals,
    totals,
    volumes: volumes.length,
    discs: discsOf(result).length,
    senderKey: key,
    toolsSha256,
  });
}

function describeBasis({ manifest }: PackResult): string {
  const { basis, lost, totals } = manifest;
  const needs = formatCount(totals.needCount, 'path');
  if (lost.length > 0) return `the share of shipment ${formatSequences(lost)} again`;
  if (basis === null) return 'it holds everything and builds on nothing';
  if (basis.type === 'receipt') return `not sent: ${needs} that the site has by its receipt ${basis.counter}`;
  return `not sent: ${needs} that came with shipments up to ${basis.sequence}, which are taken to have arrived`;
}

/** Whether somebody has tried out what is in there. */
function rehearsalLines({ manifest, outdatedRehearsals }: PackResult): string[] {
  const { rehearsals = [], roots } = manifest;
  const tried = new Set(rehearsals.flatMap((rehearsal) => rehearsal.roots));
  const bad = rehearsals.filter(({ verdict }) => verdict !== 'complete');
  return [
    ...(tried.size === 0
      ? []
      : [`  rehearsed: ${tried.size} of ${formatCount(roots.length, 'root')}; the log goes along`]),
    ...bad.map(({ verdict, name }) => `  but the last rehearsal was not complete (${verdict}); see ${name}`),
    ...outdatedRehearsals.map(
      ({ root, reason }) =>
        `  not rehearsed: ${root}; ${reason === 'changed' ? 'it has other paths than when it was' : 'it was, with roots that are not packed'}. Prove it with: nixferry rehearse ${quoteForShell(root)}`,
    ),
  ];
}

function discsOf({ folders }: PackResult): readonly string[] {
  return folders.filter((name) => name !== '.');
}

function whereItIs(result: PackResult): string[] {
  const discs = discsOf(result);
  if (discs.length === 0) return [`  ${result.folder}`];
  const ends = [...new Set([discs[0], discs.at(-1)])].join(' to ');
  return [
    `  ${result.folder}: ${ends}`,
    `Burn what each of these ${formatCount(discs.length, 'folder')} holds onto a disc of its own, and number the discs.`,
  ];
}

function installCommand(result: PackResult, key: string): string {
  const folder = discsOf(result).length > 0 ? 'DISC1' : `DIR/${basename(result.folder)}`;
  return `sh ${folder}/${INSTALLER_FILE} --trust ${key} --url http://SERVER:8080 --public-key KEY`;
}

function importCommand(result: PackResult, key: string): string {
  const isOnDiscs = discsOf(result).length > 0;
  const tools = isOnDiscs ? 'DISC1/tools' : `DIR/${basename(result.folder)}/tools`;
  const program = result.manifest.tools.length === 0 ? 'nixferry' : `sh ${tools}/nixferry`;
  return isOnDiscs ? `${program} import DISC1 DISC2 … --trust ${key}` : `${program} import DIR --trust ${key}`;
}
