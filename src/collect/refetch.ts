import { NixferryError } from '../base/errors.ts';
import type { Refetch } from '../mirror/verify.ts';
import type { NarInfo } from '../nix/index.ts';
import { describeUntrusted, isAcceptable } from './acceptable.ts';
import { type FetchInputs, fetchPath } from './fetch-path.ts';

/** How `verify` gets a damaged path anew: from the first upstream that has it and is believed. */
export function refetchFrom(inputs: Omit<FetchInputs, 'signal' | 'onBytes'>): Refetch {
  const { upstreams, trustedKeys } = inputs;
  return async ({ hashPart, info: known }, signal = new AbortController().signal) => {
    const refused: NarInfo[] = [];
    const accept = (info: NarInfo) => {
      const accepted = isAcceptable(info, known?.storePath ?? info.storePath, trustedKeys);
      if (!accepted) refused.push(info);
      return accepted;
    };
    const found = await upstreams.find(hashPart, { signal, accept });
    if (found === undefined) {
      if (refused[0] === undefined) return undefined;
      throw new NixferryError('not-trusted', describeUntrusted(refused[0]), {
        hint: 'if its upstream is to be trusted, give its key: --trusted-public-key NAME:KEY',
      });
    }
    const { info, upstream } = found;
    const { storePath, references } = info;
    return fetchPath(
      { kind: 'upstream', storePath, references, info, upstream },
      { ...inputs, signal, onBytes: () => {} },
    );
  };
}
