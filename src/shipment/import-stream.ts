import { ByteBudget } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { type PublishCandidate, publish } from '../mirror/publish.ts';
import { baseNameOf } from '../nix/index.ts';
import type { ImportFailure, StreamImport } from './import-work.ts';
import type { PathLine } from './inventory.ts';
import type { WalkedLine, WalkedMember } from './inventory-walk.ts';
import { VolumeMissing } from './medium-reader.ts';
import { checkFile, readMember } from './member-check.ts';
import { stagedBytes, stagePath } from './stage-path.ts';
import { type StagedFile, writeStagedFile } from './staged-file.ts';
import { TAR_END_BYTES } from './tar-header.ts';

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
        const file = await stageFile(work, line, failures);
        if (file !== undefined) wave.files.push(file);
        wave.fileBytes += file?.bytes.length ?? 0;
      } else if (line.type === 'folder') {
        await tryMember(work, line.at, failures);
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

/** Reads a member and gives its contents; what is wrong with it is noted. */
async function tryMember(
  { reader }: StreamImport,
  at: WalkedMember,
  failures: ImportFailure[],
  check: (contents: Buffer) => void = () => {},
): Promise<Buffer | undefined> {
  const { name } = at.member;
  try {
    const copies = reader.copiesOf(at.position, 1);
    for (let copy = 0; ; copy++) {
      try {
        const contents = await readMember(reader, at, copy);
        check(contents);
        return contents;
      } catch (error) {
        if (!isDamage(error) || copy + 1 >= copies) throw error;
      }
    }
  } catch (error) {
    if (error instanceof VolumeMissing) {
      failures.push({ kind: 'missing-volume', volumes: error.volume.name, member: name, reason: error.message });
    } else if (isDamage(error)) {
      failures.push({ kind: 'damage', volumes: reader.namesOf(at.position, 1), member: name, reason: error.message });
    } else {
      throw error;
    }
    return undefined;
  }
}

async function stageFile(
  work: StreamImport,
  { line, at }: Extract<WalkedLine, { type: 'file' }>,
  failures: ImportFailure[],
): Promise<StagedFile | undefined> {
  const bytes = await tryMember(work, at, failures, (contents) => checkFile(contents, line.name, line.sha256));
  // The mirror has a nix-cache-info of its own.
  return bytes === undefined || line.name === 'nix-cache-info' ? undefined : { name: line.name, bytes };
}

/** Two blocks of zeros end the stream, and with them the last byte of the volumes is accounted for. */
async function checkEnd({ reader }: StreamImport, failures: ImportFailure[]): Promise<void> {
  const position = reader.sizeBytes - TAR_END_BYTES;
  const note = (kind: ImportFailure['kind'], reason: string): void => {
    failures.push({ kind, volumes: reader.namesOf(position, TAR_END_BYTES), member: 'the end of the stream', reason });
  };
  try {
    const bytes = await reader.read(position, TAR_END_BYTES, 0);
    if (bytes.some((byte) => byte !== 0)) note('damage', 'there are foreign bytes behind the last file');
  } catch (error) {
    if (error instanceof VolumeMissing) note('missing-volume', error.message);
    else if (isDamage(error)) note('damage', error.message);
    else throw error;
  }
}

interface Wave {
  readonly paths: { position: number; path: string; staged: Promise<PublishCandidate | undefined> }[];
  readonly files: StagedFile[];
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
  for (const file of wave.files) await writeStagedFile(work.mirror, file);
  work.onProgress({ type: 'advance', items: wave.paths.length });
}

function isDamage(error: unknown): error is NixferryError {
  return error instanceof NixferryError && error.code === 'damage';
}
