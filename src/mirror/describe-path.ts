import { LIMITS } from '../base/limits.ts';
import { type NarInfo, narInfoFingerprint } from '../nix/narinfo.ts';
import { formatPublicKey, type PublicKey, verifySignature } from '../nix/signature.ts';
import { baseNameOf, type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';
import type { Mirror } from './mirror.ts';
import { type RootRecord, readRoots } from './roots.ts';
import { readTrustedKeys } from './trusted-keys.ts';

/** What a mirror knows of one path. */
export interface PathDescription {
  readonly info: NarInfo;
  /** Whether the file of the NAR is there with the size that the narinfo states; its contents are not read (`nixferry verify` does). */
  readonly narFile: 'there' | 'missing' | 'of another size';
  /** The visible paths that refer to it, sorted by hash part; at most `LIMITS.describedReferrers`. */
  readonly referrers: readonly StorePath[];
  readonly referrerCount: number;
  /** The roots that hold it, and whether it was asked for itself. */
  readonly roots: readonly { readonly root: RootRecord; readonly isRootPath: boolean }[];
  readonly signatures: readonly DescribedSignature[];
}

export interface DescribedSignature {
  readonly keyName: string;
  /**
   * `valid`: verified with a key that is known here, and `key` says which. `wrong`: such a key is known under that name, and it did not make this
   * signature. `unknown key`: no key of that name is known, so nothing can be said.
   */
  readonly state: 'valid' | 'wrong' | 'unknown key';
  readonly key?: KnownKey;
}

export interface KnownKey {
  /** `name:base64` */
  readonly text: string;
  /** Why it is known: the mirror's own, or trusted for a purpose. */
  readonly role: 'this mirror' | 'trusted upstream' | 'trusted sender';
}

/** Undefined when clients do not see the path. Throws `damage` when its narinfo cannot be parsed. */
export async function describePath(mirror: Mirror, hashPart: HashPart): Promise<PathDescription | undefined> {
  const info = await mirror.readNarInfo(hashPart);
  if (info === undefined) return undefined;
  const stored = await mirror.storage.stat(info.url);
  const isRightSize = info.fileSizeBytes === undefined || stored?.sizeBytes === info.fileSizeBytes;
  const here = isRightSize ? 'there' : 'of another size';
  const referrers = await mirror.index.referrers(hashPart);
  const shown = await Promise.all(
    referrers.slice(0, LIMITS.describedReferrers).map((referrer) => mirror.index.get(referrer)),
  );
  return {
    info,
    narFile: stored === undefined ? 'missing' : here,
    referrers: shown.flatMap((path) => (path === undefined ? [] : [path.storePath])),
    referrerCount: referrers.length,
    roots: await rootsWith(mirror, info.storePath),
    signatures: judgeSignatures(info, await knownKeys(mirror)),
  };
}

async function rootsWith(mirror: Mirror, path: StorePath) {
  const baseName = baseNameOf(path);
  const roots = await readRoots(mirror);
  return roots
    .filter(({ paths }) => paths.includes(baseName))
    .map((root) => ({
      root,
      isRootPath: root.rootPaths.some((rootPath) => hashPartOf(rootPath) === hashPartOf(path)),
    }));
}

interface JudgingKey {
  readonly publicKey: PublicKey;
  readonly role: KnownKey['role'];
}

async function knownKeys(mirror: Mirror): Promise<JudgingKey[]> {
  const own = mirror.hasKey ? [{ publicKey: mirror.publicKey, role: 'this mirror' as const }] : [];
  const upstreams = await readTrustedKeys(mirror, 'upstream');
  const senders = await readTrustedKeys(mirror, 'sender');
  return [
    ...own,
    ...upstreams.map((publicKey) => ({ publicKey, role: 'trusted upstream' as const })),
    ...senders.map((publicKey) => ({ publicKey, role: 'trusted sender' as const })),
  ];
}

function judgeSignatures(info: NarInfo, keys: readonly JudgingKey[]): DescribedSignature[] {
  const fingerprint = narInfoFingerprint(info);
  return info.signatures.map((signature) => {
    const keyName = signature.slice(0, Math.max(0, signature.indexOf(':')));
    const namesakes = keys.filter(({ publicKey }) => publicKey.name === keyName);
    const signer = namesakes.find(({ publicKey }) => verifySignature(signature, fingerprint, [publicKey]));
    if (signer === undefined) return { keyName, state: namesakes.length === 0 ? 'unknown key' : 'wrong' };
    return { keyName, state: 'valid', key: { text: formatPublicKey(signer.publicKey), role: signer.role } };
  });
}
