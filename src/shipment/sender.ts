import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { isKeyName } from '../mirror/keys.ts';
import { formatPublicKey, NixFormatError, type PublicKey, parsePublicKey } from '../nix/index.ts';
import { fingerprintWords } from './fingerprint-words.ts';
import { findManifestSigner } from './manifest-signature.ts';
import type { FoundShipment } from './read-shipment.ts';

/** Who a shipment says it is from. */
export interface ClaimedSender {
  readonly key: PublicKey;
  /** For people to compare. */
  readonly words: readonly string[];
  /** Whether the manifest bears a valid signature by that very key; it says nothing about whose key it is. */
  readonly hasSigned: boolean;
}

/** The sender that the manifest names; undefined when it names none that can be read. */
export function claimedSender(shipment: FoundShipment): ClaimedSender | undefined {
  const key = claimedKey(shipment.manifestBytes);
  if (key === undefined) return undefined;
  const signer = findManifestSigner(shipment.manifestBytes, shipment.signatureText, [key]);
  return { key, words: fingerprintWords(key), hasSigned: signer !== undefined };
}

/**
 * The trusted key that signed the shipment and that it names as its sender. Throws `not-trusted` otherwise, and says which of the possible
 * reasons it is.
 */
export function authenticate(shipment: FoundShipment, trusted: readonly PublicKey[]): PublicKey {
  const signer = findManifestSigner(shipment.manifestBytes, shipment.signatureText, trusted);
  const claimed = claimedSender(shipment);
  // Whoever may sign for himself may not sign in the name of another.
  if (signer !== undefined && claimed?.key.name === signer.name && claimed.key.bytes.equals(signer.bytes))
    return signer;
  if (claimed?.hasSigned !== true) {
    throw new NixferryError('not-trusted', `the signature of ${shipment.manifestFile} does not hold`, {
      hint: 'the manifest or manifest.sig was changed or damaged: take another copy of the shipment; nothing was imported',
    });
  }
  throw unknownSender(shipment, claimed, trusted);
}

function unknownSender(
  shipment: FoundShipment,
  { key, words }: ClaimedSender,
  trusted: readonly PublicKey[],
): NixferryError {
  const text = formatPublicKey(key);
  const namesake = trusted.find(({ name }) => name === key.name);
  const shown = `${text}, in words: ${words.join(' ')}`;
  if (namesake !== undefined) {
    return new NixferryError(
      'not-trusted',
      `${shipment.manifestFile} is signed by another key named ${key.name} than the one that is trusted here or was given with --trust: ${shown}`,
      {
        hint: `if you typed ${formatPublicKey(namesake)}, compare it letter by letter; else ask the sender whether the key was replaced, and if so type: nixferry keys distrust --for sender ${key.name}, then import with --trust and the new one`,
      },
    );
  }
  return new NixferryError(
    'not-trusted',
    `${shipment.manifestFile} is signed by a sender who is not trusted here: ${shown}`,
    {
      hint: `compare the words with the sender, by telephone or on paper; if they agree, type: nixferry import ${shipment.folder} --trust '${text}'`,
    },
  );
}

const KeySchema = z.object({ sender: z.string(), senderKey: z.string().max(300) });

function claimedKey(manifestBytes: Buffer): PublicKey | undefined {
  try {
    const claim = KeySchema.safeParse(JSON.parse(manifestBytes.toString()));
    if (!claim.success) return undefined;
    const key = parsePublicKey(claim.data.senderKey);
    // The name is shown, and stands in a command to paste: one that is more than a name is none.
    return key.name === claim.data.sender && isKeyName(key.name) ? key : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof NixFormatError) return undefined;
    throw error;
  }
}
