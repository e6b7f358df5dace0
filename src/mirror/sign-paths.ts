import { mapConcurrent } from '../base/concurrency.ts';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { OnProgress } from '../base/progress.ts';
import type { NarInfo } from '../nix/narinfo.ts';
import { publicKeyOf, trustedSignature } from '../nix/signature.ts';
import type { HashPart } from '../nix/store-path.ts';
import type { Mirror } from './mirror.ts';
import { findMismatch, hashNarStream } from './nar-hash.ts';
import { publish, type RefusedPath } from './publish.ts';
import { isStorageName } from './storage.ts';

export interface SignOptions {
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface SignResult {
  /** Had not all signatures of the mirror before, and have them now. */
  readonly signed: number;
  /** Had them all. */
  readonly already: number;
  readonly refused: readonly RefusedPath[];
  /** Asked for, and not visible. */
  readonly absent: readonly HashPart[];
}

/**
 * Puts the signatures of the mirror's keys onto paths that clients see; all that they have stays. What no key of the mirror has signed before (as in a plain
 * binary cache that became a mirror) is read and compared with its hash first, and refused when it differs. Safe to repeat and to interrupt. Throws
 * `no-space`, and the signal's reason.
 */
export async function signPaths(
  mirror: Mirror,
  hashParts: readonly HashPart[],
  { onProgress, signal }: SignOptions = {},
): Promise<SignResult> {
  onProgress?.({ type: 'phase', phase: 'sign', totalItems: hashParts.length });
  const refused: RefusedPath[] = [];
  const absent: HashPart[] = [];
  let signed = 0;
  let already = 0;
  for (let start = 0; start < hashParts.length; start += LIMITS.storageBatchFiles) {
    const batch = hashParts.slice(start, start + LIMITS.storageBatchFiles);
    const looked = await mapConcurrent(
      batch,
      LIMITS.narInfoReadsInFlight,
      async (hashPart) => ({ hashPart, ...(await lookAt(mirror, hashPart, signal)) }),
      signal,
    );
    const candidates: { info: NarInfo }[] = [];
    for (const { hashPart, info, isSigned, reason } of looked) {
      if (info === undefined) absent.push(hashPart);
      else if (reason !== undefined) refused.push({ path: info.storePath, reason, missing: [] });
      else if (isSigned === true) already += 1;
      else candidates.push({ info });
    }
    const result = await publish(mirror, candidates, { signal });
    signed += result.already.length + result.published.length;
    refused.push(...result.refused);
    onProgress?.({ type: 'advance', items: batch.length });
  }
  return { signed, already, refused, absent };
}

interface Look {
  /** Undefined: no client sees it. */
  readonly info?: NarInfo | undefined;
  readonly isSigned?: boolean;
  /** Why it cannot be vouched for. */
  readonly reason?: string | undefined;
}

async function lookAt(mirror: Mirror, hashPart: HashPart, signal: AbortSignal | undefined): Promise<Look> {
  const info = await mirror.readNarInfo(hashPart);
  if (info === undefined) return {};
  const keys = mirror.signingKeys.map(publicKeyOf);
  const by = keys.filter((key) => trustedSignature(info, [key]) !== undefined);
  if (by.length === keys.length) return { info, isSigned: true };
  return by.length > 0 ? { info } : { info, reason: await findProblem(mirror, info, signal) };
}

/** What nobody here has checked yet is checked before it is vouched for. */
async function findProblem(
  mirror: Mirror,
  info: NarInfo,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const opened = isStorageName(info.url) ? await mirror.storage.open(info.url) : undefined;
  if (opened === undefined) return 'its NAR is not there';
  try {
    return findMismatch(await hashNarStream(opened.stream, info, { signal }), info);
  } catch (error) {
    if (error instanceof NixferryError && error.code === 'damage') return error.message;
    throw error;
  } finally {
    opened.stream.destroy();
  }
}
