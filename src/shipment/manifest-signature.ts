import { type PublicKey, type SecretKey, signText, verifySignature } from '../nix/index.ts';

/** In front of the bytes that are signed, so that a signature made for another purpose is worth nothing here. */
const PURPOSE = 'nixferry-manifest-v1\n';

/** `manifest.sig`: one `name:base64` a line. */
export function signManifest(manifestBytes: Uint8Array, secret: SecretKey): string {
  return `${signText(secret, signedMessage(manifestBytes))}\n`;
}

/** The first of `keys` that signed the manifest; undefined when none did. Lines by unknown keys are passed over. */
export function findManifestSigner(
  manifestBytes: Uint8Array,
  signatureText: string,
  keys: readonly PublicKey[],
): PublicKey | undefined {
  const message = signedMessage(manifestBytes);
  const signatures = signatureText
    .split('\n')
    .filter((line) => line !== '')
    .slice(0, SIGNATURES_MAX);
  return keys.find((key) => signatures.some((signature) => verifySignature(signature, message, [key])));
}

const SIGNATURES_MAX = 64;

function signedMessage(manifestBytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(PURPOSE), manifestBytes]);
}
