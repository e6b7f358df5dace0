import { hash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { namesIn, readFileIfExists, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { MirrorPlace } from './keys.ts';
import { privateLayout } from './layout.ts';

/** A rehearsal that the mirror remembers: `.nixferry/rehearsals/<sha256 of its log>.json`, with the log beside it. */
export interface RehearsalRecord {
  readonly format: 1;
  readonly log: { readonly sha256: string; readonly sizeBytes: number };
  /** `complete`, or what it was not: `missing`, `failed`. */
  readonly verdict: string;
  /** `nix (Nix) 2.8.0` */
  readonly nix: string;
  readonly generator: string;
  /** ISO time; of several rehearsals of the same roots the last one counts. */
  readonly ended: string;
  readonly roots: readonly RehearsedRoot[];
}

/** Holds for a root only as long as that consists of the same paths. */
export interface RehearsedRoot {
  readonly name: string;
  readonly request: string;
  readonly scope: string;
  /** As `rootDigest` computes it. */
  readonly digest: string;
}

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const rehearsalRecord = z.object({
  format: z.literal(1),
  log: z.object({ sha256: digest, sizeBytes: z.int().min(0) }),
  verdict: z.string(),
  nix: z.string(),
  generator: z.string(),
  ended: z.iso.datetime(),
  roots: z.array(
    z.object({
      name: z.string(),
      request: z.string(),
      scope: z.string(),
      digest,
    }),
  ),
});

const RECORD_NAME = /^[0-9a-f]{64}\.json$/;

/** Keeps a rehearsal and its log, durably; the oldest ones beyond LIMITS.rehearsalsKept go. Gives the log's file. */
export async function writeRehearsal(
  place: MirrorPlace,
  log: Buffer,
  record: Omit<RehearsalRecord, 'format' | 'log'>,
): Promise<{ readonly record: RehearsalRecord; readonly logFile: string }> {
  const folder = folderOf(place);
  await makeRehearsalFolder(place);
  const sha256 = hash('sha256', log);
  const whole: RehearsalRecord = { format: 1, log: { sha256, sizeBytes: log.length }, ...record };
  await writeFileAtomic(join(folder, logName(sha256)), log);
  await writeFileAtomic(join(folder, recordName(sha256)), `${JSON.stringify(whole)}\n`);
  const all = await readRehearsals(place);
  for (const { log: old } of all.slice(LIMITS.rehearsalsKept)) {
    await rm(join(folder, recordName(old.sha256)), { force: true });
    await rm(join(folder, logName(old.sha256)), { force: true });
  }
  return { record: whole, logFile: join(folder, logName(sha256)) };
}

/** The folder is made when a rehearsal begins: that it cannot be written to shall not show at its end. */
export async function makeRehearsalFolder(place: MirrorPlace): Promise<void> {
  await mkdir(folderOf(place), { recursive: true });
}

/** All rehearsals, the latest first. What cannot be read is passed over: a rehearsal can be repeated. */
export async function readRehearsals(place: MirrorPlace): Promise<readonly RehearsalRecord[]> {
  const records: RehearsalRecord[] = [];
  for (const name of await namesIn(folderOf(place))) {
    if (!RECORD_NAME.test(name)) continue;
    const bytes = await readFileIfExists(join(folderOf(place), name), LIMITS.rehearsalRecordBytes);
    const record = rehearsalRecord.safeParse(parseJson(bytes));
    if (record.success) records.push(record.data);
  }
  return records.sort((a, b) => (a.ended < b.ended ? 1 : -1));
}

/** The log of a rehearsal; undefined when it is gone or no longer what it was. */
export async function readRehearsalLog(place: MirrorPlace, sha256: string): Promise<Buffer | undefined> {
  const bytes = await readFileIfExists(join(folderOf(place), logName(sha256)), LIMITS.rehearsalLogBytes);
  return bytes !== undefined && hash('sha256', bytes) === sha256 ? bytes : undefined;
}

function folderOf(place: MirrorPlace): string {
  return join(privateLayout(place.directory).folder, 'rehearsals');
}

function recordName(sha256: string): string {
  return `${sha256}.json`;
}

function logName(sha256: string): string {
  return `${sha256}.txt`;
}

function parseJson(bytes: Buffer | undefined): unknown {
  try {
    return bytes === undefined ? undefined : JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
