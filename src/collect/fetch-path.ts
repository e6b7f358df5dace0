import { NixferryError } from '../base/errors.ts';
import type { HttpClient } from '../base/http-client.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { composeNar } from '../mirror/nar-compose.ts';
import { intakeNar, withIntakenNar } from '../mirror/nar-intake.ts';
import type { PublishCandidate } from '../mirror/publish.ts';
import { assessTrust } from '../mirror/trust.ts';
import {
  type ContentAddress,
  formatContentAddress,
  formatHash,
  hashPartOf,
  type NarInfo,
  type PublicKey,
} from '../nix/index.ts';
import type { FixedSource } from '../sources/fixed-source.ts';
import type { SourceAttempt, SourceSupply } from '../sources/source-supply.ts';
import { openUnbrokenNar } from '../upstream/unbroken-nar.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { isAcceptable } from './acceptable.ts';
import { AddressWitness } from './address-witness.ts';
import type { PlannedPath } from './path-finder.ts';
import type { NarInfoFinder } from './plan.ts';

export interface FetchInputs {
  readonly mirror: Mirror;
  readonly upstreams: NarInfoFinder;
  /** How patiently broken transfers are taken up again. */
  readonly http: Pick<HttpClient, 'retries' | 'clock'>;
  readonly trustedKeys: readonly PublicKey[];
  /** Wanted where sources are among the paths. */
  readonly supply?: SourceSupply | undefined;
  readonly signal: AbortSignal;
  /** Bytes from the network or the local store, as they come. */
  readonly onBytes: (bytes: number) => void;
  /** The path needs the network no more. */
  readonly onReceived?: () => void;
}

/** A path that can be published. */
export interface FetchedPath extends PublishCandidate {
  /** A file that is of no more use once it is published. */
  readonly leftover?: string | undefined;
}

/**
 * Brings one path into the mirror's partial folder, checked, ready to be published.
 * @throws NixferryError `damage` when its bytes are not what they should be, `not-trusted` when its `CA:` does not hold; SourceMissing for a source that is
 *   nowhere to be had; errors of the upstream, and `no-space`.
 */
export function fetchPath(path: PlannedPath, inputs: FetchInputs): Promise<FetchedPath> {
  switch (path.kind) {
    case 'upstream':
      return fetchFromUpstream(path, inputs);
    case 'local':
      return dumpFromLocalStore(path, inputs);
    case 'source':
      return obtainSource(path.source, inputs);
  }
}

async function obtainSource(
  source: FixedSource,
  { supply, mirror, signal, onBytes }: FetchInputs,
): Promise<FetchedPath> {
  if (supply === undefined) throw new Error('a source was planned without a place to have it from');
  const { candidate, leftover } = await supply.obtain(source, { mirror, signal, onBytes });
  return { ...candidate, leftover };
}

/** What its builder makes, where nothing else has given the source. @param tried what has been tried before. */
export async function buildSource(
  source: FixedSource,
  tried: readonly SourceAttempt[],
  { supply, mirror, signal }: FetchInputs,
): Promise<FetchedPath> {
  if (supply === undefined) throw new Error('a source was planned without a place to have it from');
  const { candidate, leftover } = await supply.build(source, { mirror, signal }, tried);
  return { ...candidate, leftover };
}

/** From the upstream that the plan names; when that one fails, from the next that has the path. */
async function fetchFromUpstream(
  planned: Extract<PlannedPath, { kind: 'upstream' }>,
  inputs: FetchInputs,
): Promise<PublishCandidate> {
  const { upstreams, trustedKeys, signal } = inputs;
  const { storePath } = planned;
  const tried = new Set<Upstream>();
  const accept = (info: NarInfo, upstream: Upstream) =>
    !tried.has(upstream) && isAcceptable(info, storePath, trustedKeys);
  let source: { readonly info: NarInfo; readonly upstream: Upstream } = planned;
  while (true) {
    try {
      return await fetchFrom(source.upstream, source.info, inputs, planned.declared);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof NixferryError) || error.code === 'no-space') throw error;
      tried.add(source.upstream);
      const next = await upstreams.find(hashPartOf(storePath), { signal, accept }).catch(() => undefined);
      if (next === undefined) throw error;
      source = next;
    }
  }
}

async function fetchFrom(
  upstream: Upstream,
  info: NarInfo,
  { mirror, trustedKeys, http, signal, onBytes, onReceived }: FetchInputs,
  declared: ContentAddress | undefined,
): Promise<PublishCandidate> {
  const open = (offset: number) => openUnbrokenNar(upstream, info, { offset, signal, http });
  const nar = await intakeNar({ mirror, expected: info, open, what: info.storePath, signal, onBytes, onReceived });
  const taken = withIntakenNar(info, nar);
  const trust = await assessTrust(taken, trustedKeys, nar.file, signal);
  if (!trust.trusted) {
    throw new NixferryError('not-trusted', trust.reason, {
      hint: 'name a key that signed it with --trusted-public-key',
    });
  }
  return { info: await withDeclared(taken, declared, nar.file, signal), narFile: nar.file };
}

/** Adds what a derivation declares as `CA:`, if that proves the path: signatures do not cover it. */
async function withDeclared(
  info: NarInfo,
  declared: ContentAddress | undefined,
  narFile: string,
  signal: AbortSignal,
): Promise<NarInfo> {
  if (declared === undefined || info.contentAddress !== undefined) return info;
  const addressed = { ...info, contentAddress: formatContentAddress(declared) };
  return (await assessTrust(addressed, [], narFile, signal)).trusted ? addressed : info;
}

async function dumpFromLocalStore(
  { storePath, local, store, declared }: Extract<PlannedPath, { kind: 'local' }>,
  { mirror, signal, onBytes }: FetchInputs,
): Promise<PublishCandidate> {
  const witness = new AddressWitness();
  async function* watched(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of store.nar(storePath)) {
      witness.push(chunk);
      yield chunk;
    }
  }
  const nar = await composeNar({ mirror, nar: watched(), signal, onBytes });
  if (nar.narHash !== local.narHash) {
    throw new NixferryError(
      'damage',
      `the local store has changed since it was built: it hashes to ${formatHash(nar.narHash, 'nix32')}, not ${formatHash(local.narHash, 'nix32')}`,
      { hint: 'repair it with: nix-store --repair-path' },
    );
  }
  const { narHash, narSizeBytes, deriver, references } = local;
  const contentAddress = witness.address({ storePath, references, narHash });
  const described: NarInfo = {
    storePath,
    url: nar.url,
    compression: nar.compression,
    narHash,
    narSizeBytes,
    references,
    signatures: [],
    ...(deriver === undefined ? {} : { deriver }),
    ...(contentAddress === undefined ? {} : { contentAddress }),
  };
  const info = withIntakenNar(described, nar);
  return { info: await withDeclared(info, declared, nar.file, signal), narFile: nar.file };
}
