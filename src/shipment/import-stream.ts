import { ByteBudget } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { CACHE_INFO_NAME } from '../mirror/layout.ts';
import { type PublishCandidate, publish } from '../mirror/publish.ts';
import { baseNameOf } from '../nix/index.ts';
import type { ImportFailure, StreamImport } from './import-work.ts';
import type { PathLine } from './inventory.ts';
import { VolumeMissing } from './medium-reader.ts';
import { checkFolder, stageFile } from './stage-file.ts';
import { stagedBytes, stagePath } from './stage-path.ts';
import { type StagedFile, writeStagedFile } from './staged-file.ts';
import { TAR_END_BYTES } from './tar-header.ts';
import { fromAnyCopy, isDamage } from './volume-copies.ts';

/**
 * Takes in whatever of the stream the mirror lacks: several NARs at a time in the order of the stream, published in waves, each while the next
 * is being staged. What is missing or damaged is noted and stops nothing else. Errors of the mirror itself come through.
 */
export async function importStream(work: StreamImport): Promise<ImportFailure[]> {
  const failures: ImportFailure[] = [];
  const slots = new ByteBudget(LIMITS.importMemoryBytes);
  let wave = newWave();
  let publishing: Promise<void> = Promise.resolve();
  let index = 0;
  let fileIndex = 0;
  const running = new Set<Promise<unknown>>();
  const blocked = new BlockedPaths(work.missingNeeds);
  let fatal: { readonly error: unknown } | undefined;
  try {
    for await (const line of work.lines) {
      work.signal?.throwIfAborted();
      if (fatal !== undefined) throw fatal.error;
      if (line.type === 'path') {
        const position = index++;
        if (work.present[position] === 1) continue;
        const need = blocked.whyBlocked(line.line);
        if (need !== undefined) {
          failures.push({
            kind: 'need',
            volumes: '',
            member: line.nar.member.name,
            path: line.line.path,
            reason: `it needs ${need}`,
          });
          continue;
        }
        const bytes = stagedBytes(line);
        await slots.acquire(bytes, work.signal);
        const staged = stagePath(work, line, failures).finally(() => {
          slots.release(bytes);
          running.delete(staged);
        });
        running.add(staged);
        staged.catch((error: unknown) => {
          fatal ??= { error };
        });
        wave.paths.push({ position, path: line.line.path, staged });
        wave.narBytes += line.nar.member.sizeBytes;
      } else if (line.type === 'file') {
        const position = fileIndex++;
        // The mirror has a nix-cache-info of its own, so that nobody else would look at the beginning of the stream.
        if (work.presentFiles[position] === 1 && line.line.name !== CACHE_INFO_NAME) continue;
        const file = await stageFile(work, line, failures);
        if (file !== undefined) wave.files.push({ position, file });
        wave.fileBytes += file?.bytes.length ?? 0;
      } else if (line.type === 'folder') {
        await checkFolder(work, line.at, failures);
      }
      if (!isFull(wave)) continue;
      const full = wave;
      wave = newWave();
      await publishing;
      publishing = publishWave(work, full, failures);
      publishing.catch(() => {});
    }
    await publishing;
    await publishWave(work, wave, failures);
    if (work.missingNeeds.length === 0 && !work.present.includes(0)) await work.waitingFiles.dropRest();
    await checkEnd(work, failures);
    return failures;
  } finally {
    // Whatever went wrong: nothing works on behind the caller's back.
    await Promise.allSettled([publishing, ...running]);
  }
}

/** Paths that cannot become visible, for somewhere below them one is missing that the shipment does not bring; they are not read at all. */
class BlockedPaths {
  /** By base name: the path that is missing. */
  readonly #needs: Map<string, string>;

  constructor(missing: readonly { readonly path: string }[]) {
    this.#needs = new Map(missing.map(({ path }) => [path, path]));
  }

  /** To be asked in the order of the stream, where references come first. */
  whyBlocked({ path, references }: PathLine): string | undefined {
    if (this.#needs.size === 0) return undefined;
    for (const reference of references) {
      const need = this.#needs.get(reference);
      if (need === undefined) continue;
      this.#needs.set(path, need);
      return need;
    }
    return undefined;
  }
}

/** Two blocks of zeros end the stream, and with them the last byte of the volumes is accounted for. */
async function checkEnd({ reader }: StreamImport, failures: ImportFailure[]): Promise<void> {
  const end = { position: reader.sizeBytes - TAR_END_BYTES, sizeBytes: TAR_END_BYTES };
  const note = (kind: ImportFailure['kind'], volumes: readonly string[], reason: string): void => {
    failures.push({ kind, volumes: volumes.join(' and '), member: 'the end of the stream', reason });
  };
  try {
    await fromAnyCopy(reader, [end], async (copy) => {
      const bytes = await reader.read(end.position, end.sizeBytes, copy);
      if (bytes.some((byte) => byte !== 0))
        throw new NixferryError('damage', 'there are foreign bytes behind the last file');
    });
  } catch (error) {
    if (error instanceof VolumeMissing) note('missing-volume', reader.missingOf([end]), error.message);
    else if (isDamage(error)) note('damage', await reader.damagedOf([end]), error.message);
    else throw error;
  }
}

interface Wave {
  readonly paths: { position: number; path: string; staged: Promise<PublishCandidate | undefined> }[];
  readonly files: { position: number; file: StagedFile }[];
  /** On disk, in the mirror's partial folder. */
  narBytes: number;
  /** In memory. */
  fileBytes: number;
}

function newWave(): Wave {
  return { paths: [], files: [], narBytes: 0, fileBytes: 0 };
}

// Large waves spare the index and the disk; bounded ones spare whoever goes on after a kill most of the hashing.
function isFull(wave: Wave): boolean {
  return (
    wave.paths.length >= LIMITS.importWavePaths ||
    wave.narBytes >= LIMITS.importWaveBytes ||
    wave.fileBytes >= LIMITS.importMemoryBytes
  );
}

async function publishWave(work: StreamImport, wave: Wave, failures: ImportFailure[]): Promise<void> {
  const staged = await Promise.all(wave.paths.map((one) => one.staged));
  const candidates = staged.filter((candidate) => candidate !== undefined);
  const { published, already, refused } = await publish(work.mirror, candidates, { signal: work.signal });
  const visible = new Set([...published, ...already].map((path) => baseNameOf(path) as string));
  for (const { position, path } of wave.paths) if (visible.has(path)) work.present[position] = 1;
  for (const { path, reason, missing } of refused) {
    const name = baseNameOf(path);
    failures.push({
      kind: missing.length > 0 ? 'reference' : 'refused',
      volumes: '',
      member: name,
      path: name,
      reason,
    });
  }
  for (const { position, file } of wave.files) await putFile(work, position, file);
  work.onProgress({ type: 'advance', items: wave.paths.length });
}

async function putFile({ mirror, presentFiles, waitingFiles }: StreamImport, position: number, file: StagedFile) {
  if ((await writeStagedFile(mirror, file)) === 'waits') return waitingFiles.keep(file, file.bytes);
  presentFiles[position] = 1;
  await waitingFiles.drop(file);
}
