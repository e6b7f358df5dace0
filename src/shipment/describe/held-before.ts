import { NixferryError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { type Mirror, openMirror } from '../../mirror/mirror.ts';
import { type RootRecord, readRoots } from '../../mirror/roots.ts';
import { formatPublicKey, hashPartOf, type StorePathBaseName } from '../../nix/index.ts';
import type { Manifest } from '../manifest.ts';
import { readReceived } from '../received.ts';
import { heldAfter, type KeptShipment, readEarlierReceived, readEarlierSent } from './earlier-shipments.ts';
import { heldLines, heldPath, isSameRoot } from './held-lines.ts';
import type { HeldPath, HeldPaths } from './shipment-diff.ts';
import { type StagedShipment, stageShipment } from './staged-shipment.ts';

/** What a shipment is compared with, and on whose word. */
export interface HeldBefore {
  readonly paths: HeldPaths;
  /** For people, in words that complete "compared with …". */
  readonly words: string;
}

export interface HeldBeforeOptions {
  readonly staged: StagedShipment;
  /** What will be held: the paths of the shipment. */
  readonly after: HeldPaths;
  /** The mirror on this machine, where there is one. */
  readonly mirror: Mirror | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What the site held before the shipment. In the mirror that made it, that mirror's record of what it sent; in the mirror of the site,
 * its roots as they are, or as they were if the shipment was imported already. Throws `usage` where there is no mirror.
 */
export async function heldBefore(options: HeldBeforeOptions): Promise<HeldBefore> {
  const { staged, mirror } = options;
  const { manifest, shipment } = staged;
  if (mirror === undefined) {
    throw new NixferryError('usage', `there is no mirror here that knows what ${manifest.site} held before`, {
      hint: `name the mirror with --mirror DIR, or what to compare with: nixferry diff ${shipment.folder} --against DIR`,
    });
  }
  if (mirror.hasKey && formatPublicKey(mirror.publicKey) === manifest.senderKey) {
    const earlier = await readEarlierSent(mirror, manifest);
    return withNeeds(
      staged,
      await fromEarlier(options, earlier, `what ${mirror.directory} has sent to ${manifest.site}`),
    );
  }
  if ((await readReceived(mirror, manifest, shipment.manifestSha256)) !== undefined) {
    const earlier = await readEarlierReceived(mirror, manifest);
    return fromEarlier(options, earlier, `what ${mirror.directory} had imported before this shipment`);
  }
  return heldByMirror(mirror, options, ({ origin, shipment: from }) => {
    return origin === 'imported' && from?.sender === manifest.sender && from.site === manifest.site;
  });
}

/** What another shipment or a mirror in `folder` holds. Throws `not-a-shipment` when it is neither. */
export async function heldAgainst(folder: string, options: HeldBeforeOptions): Promise<HeldBefore> {
  const other = await stageShipment([folder], options.signal).catch((error: unknown) => {
    if (error instanceof NixferryError && error.code === 'not-a-shipment') return undefined;
    throw error;
  });
  if (other !== undefined) {
    await using staged = other;
    const { sequence, site, sender } = staged.manifest;
    await staged.checkInventory(() => {});
    return {
      paths: await heldBy(staged),
      words: `shipment ${sequence} for ${site} from ${sender} (${staged.shipment.folder})`,
    };
  }
  await using mirror = await openMirror(folder, { access: 'read' }).catch((error: unknown) => {
    if (!(error instanceof NixferryError) || error.code !== 'not-a-mirror') throw error;
    throw new NixferryError('not-a-shipment', `${folder} is neither a shipment nor a mirror`, {
      hint: 'give the folder of a shipment, or that of a mirror: --against DIR',
      cause: error,
    });
  });
  return await heldByMirror(mirror, options, () => true);
}

/** All that a shipment's roots consist of. */
export async function heldBy(staged: StagedShipment): Promise<Map<string, HeldPath>> {
  const held = new Map<string, HeldPath>();
  for await (const line of heldLines(staged.readInventory())) held.set(line.path, heldPath(line));
  return held;
}

/** The sender left out what it takes to be there, whoever brought it. */
async function withNeeds(staged: StagedShipment, before: HeldBefore): Promise<HeldBefore> {
  const paths = new Map(before.paths);
  for await (const line of heldLines(staged.readInventory())) {
    if (line.isNeed && !paths.has(line.path)) paths.set(line.path, heldPath(line));
  }
  return { ...before, paths };
}

async function fromEarlier(
  { staged, after, signal }: HeldBeforeOptions,
  earlier: readonly KeptShipment[],
  whose: string,
): Promise<HeldBefore> {
  const numbers = earlier.map(({ manifest }) => manifest.sequence);
  const words = numbers.length === 0 ? 'no shipment before this one' : `shipments up to number ${numbers[0]}`;
  return { paths: await heldAfter(earlier, staged.manifest.roots, after, signal), words: `${whose}: ${words}` };
}

async function heldByMirror(
  mirror: Mirror,
  { staged, after, signal }: HeldBeforeOptions,
  mayCount: (root: RootRecord) => boolean,
): Promise<HeldBefore> {
  const { manifest } = staged;
  const records = await readRoots(mirror);
  const versions = records.filter(
    (record) => mayCount(record) && manifest.roots.some((root) => isSameRoot(root, record)),
  );
  const held = new Map<string, HeldPath>();
  const add = async (path: string) => {
    signal?.throwIfAborted();
    const known = await mirror.index.get(hashPartOf(path as StorePathBaseName));
    held.set(path, {
      path,
      deriver: known?.deriver?.slice(mirror.storeDir.length + 1),
      narHash: known?.narHash,
      narSizeBytes: known?.narSizeBytes,
    });
  };
  for (const path of new Set(versions.flatMap(({ paths }) => paths))) await add(path);
  for (const path of after.keys()) {
    if (!held.has(path) && (await mirror.hasPath(hashPartOf(path as StorePathBaseName)))) await add(path);
  }
  return { paths: held, words: `${mirror.directory}: ${versionWords(versions, manifest)}` };
}

function versionWords(versions: readonly RootRecord[], manifest: Manifest): string {
  const [first] = versions;
  if (first === undefined) return 'it has no earlier version of these roots; what it holds otherwise counts as held';
  const names = versions.slice(0, LIMITS.describedTexts).map(({ name, shipment }) => {
    return shipment === undefined ? name : `${name} of shipment ${shipment.sequence}`;
  });
  const missing = manifest.roots.filter((root) => !versions.some((version) => isSameRoot(root, version))).length;
  return names.join(', ') + (missing === 0 ? '' : `; ${missing} of the roots are new`);
}
