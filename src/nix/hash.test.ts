import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { NixFormatError } from './format-error.ts';
import {
  DIGEST_BYTES,
  formatHash,
  type HashAlgorithm,
  type HashEncoding,
  hashAlgorithm,
  hashBytes,
  hashDigest,
  hashFromDigest,
  parseHash,
} from './hash.ts';

const ALGORITHMS: readonly HashAlgorithm[] = ['md5', 'sha1', 'sha256', 'sha512'];
const ENCODINGS: readonly HashEncoding[] = ['nix32', 'base16', 'base64', 'sri'];

const anyHash = fc.constantFrom(...ALGORITHMS).chain((algorithm) => {
  const size = DIGEST_BYTES[algorithm];
  return fc.uint8Array({ minLength: size, maxLength: size }).map((digest) => ({ algorithm, digest }));
});

test('parseHash gives the same Hash when spellings of a digest differ', () => {
  fc.assert(
    fc.property(anyHash, ({ algorithm, digest }) => {
      const hash = hashFromDigest(algorithm, digest);
      assert.equal(hashAlgorithm(hash), algorithm);
      assert.deepEqual(hashDigest(hash), Buffer.from(digest));
      for (const encoding of ENCODINGS) {
        assert.equal(parseHash(formatHash(hash, encoding)), hash);
        assert.equal(parseHash(formatHash(hash, encoding), algorithm), hash);
        assert.equal(parseHash(formatHash(hash, encoding, { prefix: false }), algorithm), hash);
      }
    }),
  );
});

test('parseHash reads upper-case base16 and SRI without padding when Nix does', () => {
  const hash = hashBytes('sha256', 'abc');
  assert.equal(parseHash(`sha256:${hashDigest(hash).toString('hex').toUpperCase()}`), hash);
  assert.equal(parseHash(formatHash(hash, 'sri').replace('=', '')), hash);
});

test('formatHash writes known hashes when encodings vary', () => {
  const hash = hashBytes('sha256', '');
  assert.equal(hash, 'sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73');
  assert.equal(formatHash(hash, 'nix32'), hash);
  assert.equal(formatHash(hash, 'base16'), 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  assert.equal(formatHash(hash, 'base64', { prefix: false }), '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=');
  assert.equal(formatHash(hash, 'sri', { prefix: false }), 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=');
});

test('parseHash refuses a spelling when algorithm, length or digits do not fit', () => {
  const digest = formatHash(hashBytes('sha256', 'x'), 'nix32', { prefix: false });
  const hex = formatHash(hashBytes('sha256', 'x'), 'base16', { prefix: false });
  const refused: readonly [string, HashAlgorithm?][] = [
    ['', 'sha256'],
    [digest],
    [`sha256:${digest}`, 'sha1'],
    [`sha256:z${digest.slice(1)}`],
    [`sha256:${digest}0`],
    [`sha256: ${digest.slice(1)}`],
    [`SHA256:${digest}`],
    [`sha256:${hex.slice(1)}g`],
    [`sha256:${hex.slice(2)}`],
    [`sha256-${hex}`],
    ['sha256-'],
    ['sha256:'],
    [':'],
    ['constructor:abc'],
    [`sha256:sha256:${digest}`],
  ];
  for (const [text, algorithm] of refused) assert.throws(() => parseHash(text, algorithm), NixFormatError, text);
});

test('hashFromDigest refuses a digest when its length is not that of the algorithm', () => {
  assert.throws(() => hashFromDigest('sha256', Buffer.alloc(20)), NixFormatError);
});
