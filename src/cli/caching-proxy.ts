import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import type { Config } from '../config/config.ts';
import { DEFAULT_TRUSTED_PUBLIC_KEY, DEFAULT_UPSTREAM } from '../config/default-trust.ts';
import { CACHE_INFO_NAME } from '../mirror/layout.ts';
import { openMirror } from '../mirror/mirror.ts';
import { SigningKeys } from '../mirror/signing-keys.ts';
import { readTrustedKeys } from '../mirror/trusted-keys.ts';
import { formatPublicKey } from '../nix/signature.ts';
import type { ProxyOptions } from '../proxy/protocol.ts';
import { readPublicKey, type UpstreamOptions } from './upstream-options.ts';

export interface CachingProxyOptions extends UpstreamOptions {
  readonly sign: boolean;
  readonly lookAhead?: boolean;
}

/**
 * What makes `serve` a caching proxy: the flags, else nixferry.toml; undefined where neither names an upstream. A mirror is made where there is none
 * yet: such a server begins with nothing. Throws `usage` for what no upstream can be, and `bad-key`.
 */
export async function chooseProxy(
  options: CachingProxyOptions,
  config: Config,
  mirrorDirectory: string,
): Promise<ProxyOptions | undefined> {
  const upstreams = options.upstream ?? config.serve.upstreams ?? [];
  if (upstreams.length === 0) {
    refuseWithoutUpstream(options);
    return undefined;
  }
  for (const address of upstreams) checkAddress(address);
  const keys = (options.trustedPublicKey ?? config.trustedPublicKeys ?? []).map(readPublicKey);
  if (upstreams.some(isDefaultUpstream)) keys.push(readPublicKey(DEFAULT_TRUSTED_PUBLIC_KEY));
  if (!(await isThere(join(mirrorDirectory, CACHE_INFO_NAME)))) await makeMirror(mirrorDirectory);
  const sign = options.sign && config.serve.sign !== false;
  // Before anything listens: whatever comes from upstreams is signed.
  if (sign) await new SigningKeys(mirrorDirectory).read();
  const remembered = await readTrustedKeys({ directory: mirrorDirectory }, 'upstream');
  const caFile = options.caFile ?? config.caFile;
  const netrcFile = options.netrcFile ?? config.netrcFile;
  return {
    upstreams,
    trustedPublicKeys: [...new Set([...keys, ...remembered].map(formatPublicKey))],
    sign,
    lookAhead: options.lookAhead ?? config.serve.lookAhead ?? false,
    ...(caFile === undefined ? {} : { caFile }),
    ...(netrcFile === undefined ? {} : { netrcFile }),
  };
}

/** An option that does nothing is a mistake of whoever wrote it. */
function refuseWithoutUpstream(options: CachingProxyOptions): void {
  const given = [
    options.sign ? undefined : '--no-sign',
    options.lookAhead === true ? '--look-ahead' : undefined,
    options.trustedPublicKey === undefined ? undefined : '--trusted-public-key',
  ].find((flag) => flag !== undefined);
  if (given === undefined) return;
  throw new NixferryError('usage', `${given} is about upstreams, and none is given`, {
    hint: 'name one with --upstream https://…, or leave the flag out',
  });
}

function checkAddress(address: string): void {
  const protocol = URL.parse(address)?.protocol;
  if (protocol === 'https:' || protocol === 'http:' || protocol === 'file:') return;
  throw new NixferryError('usage', 'an upstream is given by an address of another kind than Nixferry reads', {
    hint: 'write https://HOST, http://HOST:PORT or file:///FOLDER, with what stands before the //',
  });
}

function isDefaultUpstream(address: string): boolean {
  return URL.parse(address)?.origin === new URL(DEFAULT_UPSTREAM).origin;
}

async function makeMirror(directory: string): Promise<void> {
  const mirror = await openMirror(directory, { access: 'write', create: true, command: 'nixferry serve --upstream' });
  await mirror.close();
}

async function isThere(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
