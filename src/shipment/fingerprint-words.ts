import { createHash } from 'node:crypto';
import { formatPublicKey, type PublicKey } from '../nix/index.ts';
import { WORD_LIST } from './word-list.ts';

/** 80 bits: nobody makes another key with the same words. */
const WORD_COUNT = 10;

/**
 * A public key, its name included, as ten words for people to compare, over the telephone or on paper: each word is one byte of
 * sha256("nixferry-key-words-v1\n" + `name:base64`), from the first on.
 */
export function fingerprintWords(key: PublicKey): string[] {
  const digest = createHash('sha256')
    .update(`nixferry-key-words-v1\n${formatPublicKey(key)}`)
    .digest();
  return Array.from(digest.subarray(0, WORD_COUNT), (byte) => WORD_LIST[byte] ?? '');
}
