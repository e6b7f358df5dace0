// src/shipment/describe is what a person reads of a shipment before it is let in: models made from manifest, inventory and derivations,
// and one writer for each form (text, JSON, page, CycloneDX). It only reads, and believes nothing that no key vouches for.
import type { PublicKey } from '../../nix/index.ts';
import { fingerprintWords } from '../fingerprint-words.ts';
import { findManifestSigner } from '../manifest-signature.ts';
import type { FoundShipment } from '../read-shipment.ts';
import { claimedSender } from '../sender.ts';

/**
 * What is known of who made a shipment. `verified`: signed by a trusted key, which the manifest names as its sender. `unknown-sender`: signed by
 * the key that the manifest names, whoever that may be. `other-key`: the same, though another key of that name is trusted. `broken`: no
 * signature by the sender that it names holds.
 */
export type SignatureState =
  | { readonly kind: 'verified'; readonly key: PublicKey; readonly words: readonly string[] }
  | { readonly kind: 'unknown-sender'; readonly key: PublicKey; readonly words: readonly string[] }
  | {
      readonly kind: 'other-key';
      readonly key: PublicKey;
      readonly words: readonly string[];
      readonly trusted: PublicKey;
    }
  | { readonly kind: 'broken' };

/** Verifies the manifest's signature with the trusted keys. It throws nothing: what is not so is said, not refused. */
export function signatureState(shipment: FoundShipment, trusted: readonly PublicKey[]): SignatureState {
  const claimed = claimedSender(shipment);
  if (claimed?.hasSigned !== true) return { kind: 'broken' };
  const { key, words } = claimed;
  const namesakes = trusted.filter(({ name }) => name === key.name);
  const same = namesakes.find(({ bytes }) => bytes.equals(key.bytes));
  if (same !== undefined && findManifestSigner(shipment.manifestBytes, shipment.signatureText, [same]) !== undefined) {
    return { kind: 'verified', key, words: fingerprintWords(key) };
  }
  const [other] = namesakes;
  return other === undefined
    ? { kind: 'unknown-sender', key, words }
    : { kind: 'other-key', key, words, trusted: other };
}
