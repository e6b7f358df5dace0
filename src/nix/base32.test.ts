import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { BASE32_ALPHABET, base32Length, decodeBase32, encodeBase32 } from './base32.ts';
import { NixFormatError } from './format-error.ts';

test('encodeBase32 writes what Nix prints when bytes are known', () => {
  const sha256OfNothing = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
  const printed = '0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73';
  assert.equal(encodeBase32(Buffer.from(sha256OfNothing, 'hex')), printed);
  assert.equal(encodeBase32(Buffer.alloc(0)), '');
  assert.equal(encodeBase32(Buffer.from([0x1f])), '0z');
});

test('decodeBase32 undoes encodeBase32 when bytes are any', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const text = encodeBase32(bytes);
      assert.equal(text.length, base32Length(bytes.length));
      assert.deepEqual(decodeBase32(text), Buffer.from(bytes));
    }),
  );
});

test('encodeBase32 undoes decodeBase32 when the text is accepted, so that no two texts mean the same', () => {
  const digits = fc.constantFrom(...BASE32_ALPHABET);
  fc.assert(
    fc.property(fc.array(digits, { maxLength: 60 }), (characters) => {
      const text = characters.join('');
      try {
        assert.equal(encodeBase32(decodeBase32(text)), text);
      } catch (error) {
        assert.ok(error instanceof NixFormatError);
      }
    }),
  );
});

test('decodeBase32 refuses a text when it is not the one spelling of some bytes', () => {
  const refused = ['0', '000', 'zz', 'g0\n', '0e', '0O', '0t', '0u', '0A', '0Z', '0é', '0-', ' 0'];
  for (const text of refused) assert.throws(() => decodeBase32(text), NixFormatError, text);
  assert.equal(decodeBase32('01234567').length, 5);
});

test('decodeBase32 points at the digit when one is wrong', () => {
  assert.throws(() => decodeBase32('00e00000'), { position: 2 });
});
