import type { Refetch } from '../mirror/verify.ts';
import { isAcceptable } from './acceptable.ts';
import { type FetchInputs, fetchPath } from './fetch-path.ts';

/** How `verify` gets a damaged path anew: from the first upstream that has it and is believed. */
export function refetchFrom(inputs: Omit<FetchInputs, 'signal' | 'onBytes'>): Refetch {
  const { upstreams, trustedKeys } = inputs;
  return async ({ hashPart, info: known }, signal = new AbortController().signal) => {
    const found = await upstreams.find(hashPart, {
      signal,
      accept: (info) => isAcceptable(info, known?.storePath ?? info.storePath, trustedKeys),
    });
    if (found === undefined) return undefined;
    const { info, upstream } = found;
    const { storePath, references } = info;
    return fetchPath(
      { kind: 'upstream', storePath, references, info, upstream },
      { ...inputs, signal, onBytes: () => {} },
    );
  };
}
