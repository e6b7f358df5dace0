import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { NixFormatError } from './format-error.ts';
import { hashBytes } from './hash.ts';
import { type NarInfo, narInfoFingerprint } from './narinfo.ts';
import {
  formatPublicKey,
  formatSecretKey,
  generateSecretKey,
  isWellFormedSignature,
  parsePublicKey,
  parseSecretKey,
  publicKeyOf,
  signNarInfo,
  signText,
  trustedSignature,
  verifySignature,
} from './signature.ts';
import { makeTextPath } from './store-path-kinds.ts';

// Test vector 1 of RFC 8032, section 7.1: the empty message.
const SEED = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
const PUBLIC = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex');
const SIGNATURE = Buffer.from(
  'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  'hex',
);

const secret = generateSecretKey('site-1', SEED);
const publicKey = publicKeyOf(secret);
const path = makeTextPath('text', hashBytes('sha256', 'x'), [], '/nix/store');
const info: NarInfo = {
  storePath: path,
  url: 'nar/x',
  compression: 'none',
  narHash: hashBytes('sha256', 'x'),
  narSizeBytes: 120,
  references: [path],
  signatures: [],
};

test('signText makes the signature of RFC 8032 when seed and message are its first vector', () => {
  assert.deepEqual(publicKey, { name: 'site-1', bytes: PUBLIC });
  assert.equal(signText(secret, ''), `site-1:${SIGNATURE.toString('base64')}`);
  assert.equal(verifySignature(`site-1:${SIGNATURE.toString('base64')}`, '', [publicKey]), true);
});

test('keys read as they were written when names and seeds are any', () => {
  const name = fc.stringMatching(/^[!-9;-~]{1,20}$/);
  fc.assert(
    fc.property(name, fc.uint8Array({ minLength: 32, maxLength: 32 }), (keyName, seed) => {
      const key = generateSecretKey(keyName, seed);
      assert.deepEqual(parseSecretKey(`${formatSecretKey(key)}\n`), key);
      assert.deepEqual(parsePublicKey(` ${formatPublicKey(publicKeyOf(key))} `), publicKeyOf(key));
    }),
    { numRuns: 50 },
  );
});

test('generateSecretKey makes another key each time unless a seed is given', () => {
  assert.notDeepEqual(generateSecretKey('a'), generateSecretKey('a'));
});

test('parsePublicKey and parseSecretKey refuse what is no key, and never show a secret', () => {
  const text = formatPublicKey(publicKey);
  for (const bad of [
    '',
    ':',
    'a',
    'a:',
    text.slice(1 + text.indexOf(':')),
    `:${PUBLIC.toString('base64')}`,
    text.slice(0, -4),
    `a b:${PUBLIC.toString('base64')}`,
    formatSecretKey(secret),
  ]) {
    assert.throws(() => parsePublicKey(bad), NixFormatError, bad);
  }
  const wrongHalf = `site-1:${Buffer.concat([SEED, Buffer.alloc(32)]).toString('base64')}`;
  for (const bad of [text, wrongHalf, formatSecretKey(secret).slice(0, -8), formatSecretKey(secret).replace(':', '')]) {
    assert.throws(
      () => parseSecretKey(bad),
      (error) => error instanceof NixFormatError && !error.message.includes(SEED.toString('base64').slice(0, 8)),
    );
  }
  for (const name of ['', 'a:b', 'a b', 'a\n', 'ä']) assert.throws(() => generateSecretKey(name), NixFormatError);
  assert.throws(() => generateSecretKey('a', Buffer.alloc(31)), NixFormatError);
});

test('verifySignature holds only when name, key and every bit are right', () => {
  const signature = signText(secret, 'message');
  assert.equal(verifySignature(signature, 'message', [publicKey]), true);
  assert.equal(verifySignature(signature, Buffer.from('message'), [publicKey]), true);
  assert.equal(verifySignature(signature, 'messagf', [publicKey]), false);
  assert.equal(verifySignature(signature, 'message', []), false);
  assert.equal(verifySignature(signature, 'message', [{ ...publicKey, name: 'site-2' }]), false);
  assert.equal(verifySignature(signature, 'message', [{ ...publicKey, name: 'site-' }]), false);
  const stranger = publicKeyOf(generateSecretKey('site-1'));
  assert.equal(verifySignature(signature, 'message', [stranger]), false);
  assert.equal(verifySignature(signature, 'message', [stranger, publicKey]), true, 'a name may have several keys');
  const bytes = Buffer.from(signature.slice('site-1:'.length), 'base64');
  for (let bit = 0; bit < bytes.length * 8; bit += 7) {
    const changed = Buffer.from(bytes);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assert.equal(verifySignature(`site-1:${changed.toString('base64')}`, 'message', [publicKey]), false);
  }
});

test('verifySignature is false and isWellFormedSignature too when a signature is none', () => {
  const good = SIGNATURE.toString('base64');
  for (const bad of [
    '',
    ':',
    'site-1',
    'site-1:',
    `site-1:${good.slice(4)}`,
    `site-1:${good}AAAA`,
    `site-1:${good.slice(0, -3)}=`,
    `:${good}`,
    `site-1:!${good.slice(1)}`,
    `site-1:${good.slice(0, -2)}AA`,
    'site-1:AA==',
  ]) {
    assert.equal(verifySignature(bad, '', [publicKey]), false, bad);
    assert.equal(isWellFormedSignature(bad), false, bad);
  }
  assert.equal(isWellFormedSignature(`a b:${good}`), false);
  assert.equal(isWellFormedSignature(`site-1:${good}`), true);
  assert.equal(isWellFormedSignature(`site-1:${good.slice(0, -2)}`), true);
});

test('signNarInfo adds our signature once and keeps the others that are well-formed', () => {
  const upstream = generateSecretKey('upstream.example.org-1');
  const theirs = signText(upstream, narInfoFingerprint(info));
  const ours = signText(secret, narInfoFingerprint(info));
  const odd = { ...info, signatures: ['broken:A', theirs, `site-1:${Buffer.alloc(64).toString('base64')}`, theirs] };
  const signed = signNarInfo(odd, secret);
  assert.deepEqual(signed.signatures, [ours, theirs]);
  assert.deepEqual(signNarInfo(signed, secret), signed);
  assert.deepEqual({ ...signed, signatures: [] }, info);
});

test('trustedSignature gives the first signature by a trusted key and none when the narinfo was changed', () => {
  const signed = signNarInfo({ ...info, signatures: [signText(generateSecretKey('a'), 'x')] }, secret);
  assert.equal(trustedSignature(signed, [publicKey]), signed.signatures[1]);
  assert.equal(trustedSignature(signed, [publicKeyOf(generateSecretKey('a'))]), undefined);
  assert.equal(trustedSignature(info, [publicKey]), undefined);
  assert.equal(trustedSignature(signed, []), undefined);
  for (const change of [{ narSizeBytes: 121 }, { references: [] }, { narHash: hashBytes('sha256', 'y') }]) {
    assert.equal(trustedSignature({ ...signed, ...change }, [publicKey]), undefined);
  }
  assert.ok(
    trustedSignature({ ...signed, url: 'elsewhere', compression: 'xz' }, [publicKey]),
    'transport is not signed',
  );
});
