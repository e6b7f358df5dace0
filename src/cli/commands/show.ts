import type { Command } from 'commander';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { describePath, type PathDescription } from '../../mirror/describe-path.ts';
import { type Mirror, openMirror } from '../../mirror/mirror.ts';
import { formatPublicKey, type HashPart } from '../../nix/index.ts';
import { cycloneDx } from '../../shipment/describe/cyclonedx.ts';
import { DerivationKnowledge, type OutputFacts } from '../../shipment/describe/output-facts.ts';
import { pathText } from '../../shipment/describe/path-text.ts';
import {
  type DescribedPackage,
  type DescribedPath,
  describeShipment,
  type ShipmentDescription,
} from '../../shipment/describe/shipment-description.ts';
import { showPage } from '../../shipment/describe/show-page.ts';
import { narSha256, showText } from '../../shipment/describe/show-text.ts';
import type { SignatureState } from '../../shipment/describe/signature-state.ts';
import { type StagedShipment, stageShipment } from '../../shipment/describe/staged-shipment.ts';
import { addCommonOptions, type CommonOptions, collectValues, readCommonOptions } from '../common-options.ts';
import { describeShipments, type ListedShipment, listShipments, nameOne } from '../list-shipments.ts';
import { hashPartIn } from '../path-word.ts';
import type { CommandRun } from '../run.ts';
import {
  derivationSources,
  GENERATOR,
  openMirrorIfThere,
  printPieces,
  readSenderKeys,
  refuseFilesInShipment,
  refuseWrongSignature,
  WRITER,
  writeReport,
} from '../showing.ts';

interface ShowOptions extends CommonOptions {
  readonly paths?: boolean;
  readonly html?: string;
  readonly cyclonedx?: string;
  readonly trust?: readonly string[];
}

export function define(command: Command, run: CommandRun): void {
  command
    .argument(
      '<what...>',
      'a shipment (its folder, or several where its volumes lie apart), or a store path of the mirror',
    )
    .option('--paths', 'list every path and its hash, not only the packages')
    .option('--html <file>', 'write it as one page that opens anywhere, without network or scripts')
    .option('--cyclonedx <file>', 'write it as a bill of materials (CycloneDX 1.6, JSON)')
    .option(
      '--trust <key>',
      "the sender's key, name:base64, to verify the signature with; repeat for more",
      collectValues,
    );
  addCommonOptions(command, [
    'nixferry show /media/stick',
    'nixferry show /media/stick --html shipment.html --cyclonedx shipment.cdx.json',
    'nixferry show /nix/store/...-hello-2.12',
  ]).action((what: string[], options: ShowOptions) => show(what, options, run));
}

async function show(what: readonly string[], options: ShowOptions, run: CommandRun): Promise<void> {
  const [first = ''] = what;
  const hashPart = what.length === 1 ? await hashPartIn(first) : undefined;
  if (hashPart === undefined) await showShipment(what, options, run);
  else await showPath(hashPart, first, options, run);
}

async function showShipment(folders: readonly string[], options: ShowOptions, run: CommandRun): Promise<void> {
  const { output, signal } = run;
  const { html, cyclonedx, paths = false, trust = [] } = options;
  const [only] = folders;
  const several = folders.length === 1 && only !== undefined ? await listShipments(only) : undefined;
  if (several !== undefined) return showSeveral(several, options, run);
  await using staged = await stageShipment(folders, signal);
  refuseFilesInShipment([html, cyclonedx], staged.shipment.folder);
  await using mirror = await openMirrorIfThere(options, output);
  const description = await describeShipment({
    staged,
    trusted: await readSenderKeys(mirror, trust),
    derivationSources: derivationSources(mirror, signal),
    onProgress: output.onProgress,
    signal,
  });
  output.onProgress({ type: 'phase', phase: '' });
  await printPieces(showText(description, paths), run);
  reportJson(description, paths, run);
  if (html !== undefined) await writeReport(html, showPage(description, GENERATOR), run);
  if (cyclonedx !== undefined) await writeReport(cyclonedx, billOf(description, staged), run);
  refuseWrongSignature(description.signature, description.folder, trust);
  output.verdict(EXIT.complete, { signature: description.signature.kind });
}

/** A list is an answer, unless one of them was to be looked at more closely. */
function showSeveral(shipments: readonly ListedShipment[], options: ShowOptions, { output }: CommandRun): void {
  const { html, cyclonedx, trust } = options;
  if (html !== undefined || cyclonedx !== undefined || trust !== undefined) {
    throw new NixferryError('not-a-shipment', `there are ${shipments.length} shipments, and it is not said which one`, {
      hint: nameOne(shipments, 'nixferry show'),
    });
  }
  output.result(describeShipments(shipments), { shipments });
  output.say(nameOne(shipments, 'nixferry show'));
  output.verdict(EXIT.complete, {});
}

function billOf(description: ShipmentDescription, staged: StagedShipment): AsyncGenerator<string> {
  return cycloneDx(description, () => staged.readInventory(), WRITER);
}

function reportJson(description: ShipmentDescription, withPaths: boolean, { output }: CommandRun): void {
  if (!output.json) return;
  const { packages, roots, needs, signature, manifest, ...rest } = description;
  const { roots: _, volumes, inventory, ...head } = manifest;
  for (const root of roots) output.event('root', { ...root });
  for (const one of packages) output.event('package', packageFields(one, withPaths));
  for (const { narHash, ...need } of withPaths ? needs : []) {
    output.event('need', { ...need, narSha256: narSha256(narHash) });
  }
  output.result('', {
    ...rest,
    ...head,
    inventory: { name: inventory.name, sha256: inventory.sha256 },
    volumes,
    signature: signatureFields(signature),
    packageCount: packages.length,
    needCount: needs.length,
  });
}

function packageFields({ paths, ...rest }: DescribedPackage, withPaths: boolean): Record<string, unknown> {
  return withPaths ? { ...rest, paths: paths.map(pathFields) } : { ...rest, pathCount: paths.length };
}

function pathFields({ path, output, narHash, narSizeBytes }: DescribedPath): Record<string, unknown> {
  return { path, output, narSha256: narSha256(narHash), narSizeBytes };
}

/** The state of a signature with keys as texts. */
export function signatureFields(signature: SignatureState): Record<string, unknown> {
  if (signature.kind === 'broken') return { state: signature.kind };
  const { kind, key, words } = signature;
  const other = kind === 'other-key' ? { trusted: formatPublicKey(signature.trusted) } : {};
  return { state: kind, key: formatPublicKey(key), words, ...other };
}

async function showPath(hashPart: HashPart, text: string, options: ShowOptions, run: CommandRun): Promise<void> {
  const { output, signal } = run;
  for (const option of ['html', 'cyclonedx', 'trust', 'paths'] as const) {
    if (options[option] === undefined) continue;
    throw new NixferryError('usage', `--${option} is for shipments; ${text} is a store path`, {
      hint: `leave it out: nixferry show ${text}`,
    });
  }
  const { mirrorDirectory } = await readCommonOptions(options);
  await using mirror = await openMirror(mirrorDirectory, { access: 'read' });
  const path = await describePath(mirror, hashPart);
  if (path === undefined) {
    throw new NixferryError('usage', `the mirror ${mirror.directory} does not hold ${text}`, {
      hint: `name another mirror with --mirror DIR, or take the path in: nixferry collect ${text}`,
    });
  }
  const facts = await factsOf(path, mirror, signal);
  output.result(pathText(path, facts).trimEnd(), mirrorPathFields(path, facts));
  output.verdict(EXIT.complete, {});
}

async function factsOf(
  { info }: PathDescription,
  mirror: Mirror,
  signal: AbortSignal,
): Promise<OutputFacts | undefined> {
  if (info.deriver === undefined) return undefined;
  return new DerivationKnowledge(derivationSources(mirror, signal)).factsOf(info.storePath, info.deriver);
}

function mirrorPathFields(
  { info, roots, ...rest }: PathDescription,
  facts: OutputFacts | undefined,
): Record<string, unknown> {
  return {
    ...info,
    ...rest,
    roots: roots.map(({ root, isRootPath }) => {
      const { id, name, request, scope, complete, origin, shipment } = root;
      return { id, name, request, scope, complete, origin, shipment, isRootPath };
    }),
    derivation: facts,
  };
}
