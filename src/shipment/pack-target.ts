import { randomUUID } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { z } from 'zod';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { makeFolders, readFileIfExists, TEMP_NAME_PREFIX, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';
import {
  CHECKSUMS_FILE,
  DISC_FOLDER,
  formatSequence,
  INVENTORY_FILE,
  MANIFEST_FILE,
  READ_ME_FILE,
  SIGNATURE_FILE,
  shipmentName,
  TOOLS_FOLDER,
  UNFINISHED_FILE,
  VOLUMES_FOLDER,
} from './format.ts';
import { readSent, type SentRecord, writeSent } from './sent.ts';

/** The folder that a shipment is written to, and what an earlier attempt has already done there. */
export interface PackTarget {
  readonly folder: string;
  readonly sequence: number;
  readonly record: SentRecord;
  /** Hex sha256 of the last manifest that was sealed for this site. */
  readonly previous: string | null;
  readonly journal: PackJournal;
}

/** UNFINISHED.json: which volumes are written and have been read back, and of which inventory. */
export type PackJournal = z.infer<typeof JournalSchema>;

/**
 * Takes the folder `<to>/<site>-<sequence>`: that of an own attempt that did not finish, else a new one with the next number.
 * Throws `target-occupied` when something else lies there.
 */
export async function openPackTarget(mirror: Mirror, to: string, site: string): Promise<PackTarget> {
  const parent = resolve(to);
  await refuseParent(mirror, parent);
  const sent = await readSent(mirror, site);
  const unfinished = await findUnfinished(parent, sent);
  if (unfinished !== undefined) return { ...unfinished, previous: lastSealed(sent, unfinished.sequence) };
  const last = sent.at(-1);
  const begun =
    last?.state === 'begun' && (await isEmpty(join(parent, shipmentName(site, last.sequence)))) ? last : undefined;
  const sequence = begun?.sequence ?? (last?.sequence ?? 0) + 1;
  const folder = join(parent, shipmentName(site, sequence));
  await (begun === undefined ? refuseOccupied(folder) : clearLeftovers(folder, sequence, new Set()));
  const record: SentRecord = begun ?? { format: 1, site, sequence, attempt: randomUUID(), state: 'begun' };
  // The number is taken before anything bears it: two shipments never have the same.
  if (begun === undefined) await writeSent(mirror, record);
  const journal: PackJournal = { about: ABOUT, attempt: record.attempt, inventorySha256: null, volumes: [] };
  await makeFolders(folder);
  await writeJournal(folder, journal);
  return { folder, sequence, record, previous: lastSealed(sent, sequence), journal };
}

export async function writeJournal(folder: string, journal: PackJournal): Promise<void> {
  await writeFileAtomic(join(folder, UNFINISHED_FILE), `${JSON.stringify(journal, undefined, 2)}\n`);
}

/** UNFINISHED.json of a folder; undefined when there is none of ours. */
export async function readJournal(folder: string): Promise<PackJournal | undefined> {
  const bytes = await readFileIfExists(join(folder, UNFINISHED_FILE), LIMITS.packJournalBytes);
  if (bytes === undefined) return undefined;
  try {
    return JournalSchema.parse(JSON.parse(bytes.toString()));
  } catch {
    // Whatever it is, it is not the journal of an attempt of ours; the folder then counts as occupied.
    return undefined;
  }
}

const ABOUT = 'nixferry pack has not finished this shipment. Type the same command again, or delete this folder.';

const JournalSchema = z.object({
  about: z.string(),
  attempt: z.string(),
  inventorySha256: z.string().nullable(),
  volumes: z.array(
    z.object({
      name: z.string(),
      sizeBytes: z.int().min(1),
      disc: z.int().min(1).exactOptional(),
      file: z.string().regex(/^(disc-[0-9]{2,4}\/)?volumes\/[0-9]+-[0-9]+\.tar$/),
      sha256: z.string(),
    }),
  ),
});

function lastSealed(sent: readonly SentRecord[], before: number): string | null {
  const last = sent.findLast((record) => record.state === 'sealed' && record.sequence < before);
  return last?.manifestSha256 ?? null;
}

async function findUnfinished(
  parent: string,
  sent: readonly SentRecord[],
): Promise<Omit<PackTarget, 'previous'> | undefined> {
  for (const record of sent.toReversed()) {
    const folder = join(parent, shipmentName(record.site, record.sequence));
    const journal = await readJournal(folder);
    if (journal?.attempt !== record.attempt || (await exists(join(folder, MANIFEST_FILE)))) continue;
    await clearLeftovers(folder, record.sequence, new Set(journal.volumes.map(({ file }) => file)));
    return { folder, sequence: record.sequence, record: { ...record, state: 'begun' }, journal };
  }
  return undefined;
}

const OWN_FILES: ReadonlySet<string> = new Set([
  SIGNATURE_FILE,
  INVENTORY_FILE,
  CHECKSUMS_FILE,
  READ_ME_FILE,
  TOOLS_FOLDER,
]);

/** Removes what a killed attempt left half done. Throws `target-occupied` when there is anything that it did not write. */
async function clearLeftovers(folder: string, sequence: number, finished: ReadonlySet<string>): Promise<void> {
  const leftovers: string[] = [];
  const isVolume = new RegExp(`^${formatSequence(sequence)}-[0-9]+\\.tar$`);
  const look = async (below: string, isOwn: (name: string) => boolean): Promise<void> => {
    for (const name of await readdir(join(folder, below))) {
      const file = join(below, name);
      if (finished.has(file)) continue;
      if (OWN_FILES.has(name) || name.startsWith(TEMP_NAME_PREFIX)) leftovers.push(file);
      else if (name === VOLUMES_FOLDER) await look(file, (volume) => isVolume.test(volume));
      else if (below === '' && DISC_FOLDER.test(name)) await look(file, (own) => own === MANIFEST_FILE);
      else if (isOwn(name)) leftovers.push(file);
      else throw occupied(join(folder, below), name);
    }
  };
  await look('', (name) => name === UNFINISHED_FILE);
  for (const file of leftovers) {
    if (file !== UNFINISHED_FILE) await rm(join(folder, file), { recursive: true });
  }
}

async function refuseOccupied(folder: string): Promise<void> {
  try {
    const [first] = await readdir(folder);
    if (first !== undefined) throw occupied(folder, first);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOTDIR') throw occupied(folder, 'a file of that name');
    if (code !== 'ENOENT') throw error;
  }
}

/** Whether a folder is there and holds nothing but, at most, a temp file: an attempt was killed before it wrote its first file. */
async function isEmpty(folder: string): Promise<boolean> {
  try {
    return (await readdir(folder)).every((name) => name.startsWith(TEMP_NAME_PREFIX));
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw error;
  }
}

async function refuseParent(mirror: Mirror, parent: string): Promise<void> {
  if (await exists(join(parent, MANIFEST_FILE))) {
    throw new NixferryError('target-occupied', `${parent} is a shipment itself`, {
      hint: 'give the folder that is to hold the new shipment with --to DIR',
    });
  }
  if (parent === mirror.directory || `${parent}${sep}`.startsWith(`${mirror.directory}${sep}`)) {
    throw new NixferryError('target-occupied', `${parent} lies in the mirror ${mirror.directory}`, {
      hint: 'give a folder on the medium, outside of the mirror, with --to DIR',
    });
  }
}

function occupied(folder: string, what: string): NixferryError {
  return new NixferryError('target-occupied', `${folder} already holds ${what}; nothing was overwritten`, {
    hint: 'give another folder with --to DIR, or move away what is there',
  });
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw error;
  }
}
