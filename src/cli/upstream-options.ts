import type { Command } from 'commander';
import { NixferryError } from '../base/errors.ts';
import type { HttpClientOptions } from '../base/http-client.ts';
import type { Config } from '../config/config.ts';
import { DEFAULT_TRUSTED_PUBLIC_KEY } from '../config/default-trust.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { readTrustedKeys } from '../mirror/trusted-keys.ts';
import { type PublicKey, parsePublicKey } from '../nix/index.ts';
import { collectValues } from './common-options.ts';

// What every command shares that reads from upstreams: which, how they are reached, and whose signatures count.

export interface UpstreamOptions {
  readonly upstream?: readonly string[];
  readonly trustedPublicKey?: readonly string[];
  readonly netrcFile?: string;
  readonly caFile?: string;
}

export function addUpstreamOptions(command: Command, upstreamHelp: string): Command {
  return command
    .option('--upstream <url>', upstreamHelp, collectValues)
    .option('--trusted-public-key <key>', 'key whose signatures count, name:base64; repeat for more', collectValues)
    .option('--netrc-file <file>', 'passwords for upstreams (default: ~/.netrc)')
    .option('--ca-file <file>', 'certificates to trust besides the usual ones');
}

export function httpOptions(options: UpstreamOptions, config: Config): HttpClientOptions {
  const caFile = options.caFile ?? config.caFile;
  const netrcFile = options.netrcFile ?? config.netrcFile;
  return { ...(caFile === undefined ? {} : { caFile }), ...(netrcFile === undefined ? {} : { netrcFile }) };
}

/** Keys of the flags, else of nixferry.toml, else that of cache.nixos.org; and those that the mirror remembers. */
export async function readTrustedPublicKeys(
  options: UpstreamOptions,
  config: Config,
  mirror: Mirror | undefined,
): Promise<readonly PublicKey[]> {
  const texts = options.trustedPublicKey ?? config.trustedPublicKeys ?? [DEFAULT_TRUSTED_PUBLIC_KEY];
  return [...texts.map(readPublicKey), ...(mirror === undefined ? [] : await readTrustedKeys(mirror, 'upstream'))];
}

/** Parses a key from the command line; throws `bad-key`. */
export function readPublicKey(text: string): PublicKey {
  try {
    return parsePublicKey(text);
  } catch (error) {
    throw new NixferryError('bad-key', `'${text}' is no public key`, {
      hint: 'a public key is written name:base64, as in cache.nixos.org-1:6NCH...',
      cause: error,
    });
  }
}
