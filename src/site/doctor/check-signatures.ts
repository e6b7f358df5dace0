import { basename } from 'node:path';
import { mapConcurrent } from '../../base/concurrency.ts';
import { LIMITS } from '../../base/limits.ts';
import { narInfoName } from '../../mirror/layout.ts';
import { NixFormatError } from '../../nix/format-error.ts';
import { type NarInfo, parseNarInfo } from '../../nix/narinfo.ts';
import { formatPublicKey, type PublicKey, trustedSignature } from '../../nix/signature.ts';
import { type HashPart, hashPartOf, isHashPart, type StorePathBaseName } from '../../nix/store-path.ts';
import { bounded } from './bounded.ts';
import { below, cacheUrl } from './cache-url.ts';
import { askUpstreams, explainMissing } from './check-upstreams.ts';
import { type Finding, fine, problem, type SettingsStyle, settingRemedy, warning } from './finding.ts';
import { namesIfReadable } from './machine.ts';
import type { CacheProbe, ProbeTools } from './probe-cache.ts';

export interface SignatureOptions extends ProbeTools {
  readonly style: SettingsStyle;
  readonly storeDir: string;
  readonly keys: readonly PublicKey[];
  readonly requireSigs: boolean;
  /** A path that the user wants to know about. */
  readonly wanted?: HashPart | undefined;
}

/** Asks a cache that answers for a real path, and checks its signature as Nix would. */
export async function checkSignature(probe: CacheProbe, options: SignatureOptions): Promise<Finding[]> {
  const { address } = probe;
  const url = cacheUrl(address);
  if (url === undefined || !url.protocol.startsWith('http')) return [];
  const { wanted, storeDir } = options;
  const candidates = wanted === undefined ? [...exampleOf(probe), ...(await sampleStore(storeDir))] : [wanted];
  const found = await findNarInfo(url, candidates, options);
  if (found === 'unreadable') {
    return [
      problem('narinfo-unreadable', `${address} gives a narinfo that Nix cannot read`, {
        cure: 'on the server, type: nixferry verify',
      }),
    ];
  }
  if (found !== undefined) return [judge(found, probe, options)];
  if (wanted !== undefined) {
    // Asked only now: to be asked for a path is what shows a proxy that its line is down.
    const upstreams = probe.server === undefined ? [] : await askUpstreams(url, options);
    return [explainMissing(address, wanted, upstreams)];
  }
  return [
    warning('no-sample', `no path was found to check a signature of ${address} with`, {
      cure: 'name one that it should have: nixferry doctor --path /nix/store/...',
    }),
  ];
}

function exampleOf({ server }: CacheProbe): HashPart[] {
  return server?.example !== undefined && isHashPart(server.example) ? [server.example] : [];
}

/** Some paths of the store here: a cache that this machine was installed from has one of them. */
async function sampleStore(storeDir: string): Promise<HashPart[]> {
  const names = namesIfReadable(storeDir).filter(
    (name) => /^[0-9a-z]{32}-/.test(name) && !/\.(?:drv|lock)$/.test(name),
  );
  const step = Math.max(1, Math.floor(names.length / LIMITS.sampledStorePaths));
  return names
    .filter((_name, position) => position % step === 0)
    .slice(0, LIMITS.sampledStorePaths)
    .map((name) => hashPartOf(name as StorePathBaseName))
    .filter(isHashPart);
}

async function findNarInfo(
  url: URL,
  candidates: readonly HashPart[],
  options: SignatureOptions,
): Promise<NarInfo | 'unreadable' | undefined> {
  const { http, timeoutMs, signal, storeDir } = options;
  let found: NarInfo | 'unreadable' | undefined;
  // One limit for all: a cache that is slow with each of them must not take all day.
  await bounded(2 * timeoutMs, signal, (limit) =>
    mapConcurrent(candidates, LIMITS.doctorProbesAtOnce, async (hashPart) => {
      if (found !== undefined) return;
      const target = below(url, narInfoName(hashPart));
      const answer = await http
        .getBytes(target, { maxBytes: LIMITS.narInfoBytes, signal: limit, accept: [404, 403] })
        .catch(() => undefined);
      if (answer?.status === 200) found ??= readNarInfo(answer.bytes, storeDir);
    }),
  );
  return found;
}

function readNarInfo(bytes: Buffer, storeDir: string): NarInfo | 'unreadable' {
  try {
    return parseNarInfo(bytes, storeDir);
  } catch (error) {
    if (error instanceof NixFormatError) return 'unreadable';
    throw error;
  }
}

function judge(info: NarInfo, { address, server }: CacheProbe, options: SignatureOptions): Finding {
  const { keys, style, requireSigs } = options;
  const name = basename(info.storePath).slice(33);
  const signature = trustedSignature(info, keys);
  if (signature !== undefined) {
    return fine('signature', `${address}: ${name} carries a signature that counts here (${signature.split(':')[0]})`);
  }
  if (info.contentAddress !== undefined) {
    return fine('signature', `${address}: ${name} is named by its contents, and needs no signature`);
  }
  const names = [...new Set(info.signatures.map((text) => text.slice(0, text.indexOf(':'))))];
  const level = requireSigs ? problem : warning;
  if (names.length === 0) {
    return level('unsigned', `${address}: ${name} has no signature at all, and Nix refuses it`, {
      cure: 'sign it on the server: nixferry sign --all there, or nix store sign where it was built',
    });
  }
  const sameName = keys.filter((key) => names.includes(key.name));
  const offered = (server?.publicKeys ?? []).filter((text) => names.includes(text.split(':')[0] ?? ''));
  const text =
    sameName.length > 0
      ? `${address}: ${name} is signed as ${names.join(', ')}, and not by the key of that name that is trusted here: it is another key, or the signature is forged`
      : `${address}: ${name} is signed by ${names.join(', ')} alone, which is not trusted here: Nix refuses it`;
  if (offered.length === 0) {
    return level('key-not-trusted', text, {
      cure: 'have its owner tell you the public key, and add it to trusted-public-keys',
    });
  }
  const others = keys.filter((key) => !names.includes(key.name)).map(formatPublicKey);
  return level(
    'key-not-trusted',
    text,
    settingRemedy(
      style,
      'compare this key with what nixferry keys show prints on the server; if it is the same, trust it',
      {
        name: 'trusted-public-keys',
        value: [...offered, ...others],
        force: true,
      },
    ),
  );
}
