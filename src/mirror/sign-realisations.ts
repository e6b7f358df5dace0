import { mapConcurrent } from '../base/concurrency.ts';
import { LIMITS } from '../base/limits.ts';
import { NixFormatError } from '../nix/format-error.ts';
import {
  formatRealisation,
  parseRealisation,
  parseRealisationPath,
  type Realisation,
  signRealisation,
  trustedRealisationSignature,
} from '../nix/realisation.ts';
import { publicKeyOf } from '../nix/signature.ts';
import type { Mirror } from './mirror.ts';
import type { NamedBytes } from './storage.ts';

/**
 * Puts the signatures of all the mirror's keys onto the realisations that one of them has signed; nothing that it holds could prove any other. Resolves
 * to how many were changed. Safe to repeat.
 */
export async function signRealisations(mirror: Mirror, signal?: AbortSignal): Promise<number> {
  const names: string[] = [];
  for (const folder of ['realisations/', 'build-trace-v2/']) {
    for await (const name of mirror.storage.list(folder)) names.push(name);
  }
  const signed = await mapConcurrent(names, LIMITS.narInfoReadsInFlight, (name) => signOne(mirror, name), signal);
  const changed = signed.filter((file) => file !== undefined);
  if (changed.length > 0) await mirror.storage.writeInOrder([changed]);
  return changed.length;
}

async function signOne(mirror: Mirror, name: string): Promise<NamedBytes | undefined> {
  const bytes = await mirror.storage.read(name);
  const realisation = bytes === undefined ? undefined : readRealisation(name, bytes);
  if (bytes === undefined || realisation === undefined) return undefined;
  const keys = mirror.signingKeys.map(publicKeyOf);
  if (trustedRealisationSignature(realisation, keys) === undefined) return undefined;
  const text = formatRealisation(mirror.signingKeys.reduce(signRealisation, realisation));
  return text === bytes.toString() ? undefined : { name, bytes: text };
}

/** Undefined for what is no realisation; `verify` is for those. */
function readRealisation(name: string, bytes: Buffer): Realisation | undefined {
  const key = parseRealisationPath(name);
  if (key === undefined || bytes.length > LIMITS.realisationBytes) return undefined;
  try {
    return parseRealisation(bytes, key);
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}
