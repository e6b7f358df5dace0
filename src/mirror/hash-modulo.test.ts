import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { fakeStorePath } from '../../test/support/fake-paths.ts';
import { hashBytes } from '../nix/hash.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { HashModulo } from './hash-modulo.ts';

const self = hashPartOf(fakeStorePath('self'));
const zeros = '\0'.repeat(32);

test('HashModulo counts the hash part as zeros and hashes its places when it occurs', () => {
  const modulo = new HashModulo('sha256', self);
  modulo.push(Buffer.from(`a${self}bc${self}${self}`));
  assert.equal(modulo.finish(), hashBytes('sha256', `a${zeros}bc${zeros}${zeros}|1|35|67`));
});

test('HashModulo is the plain hash when the hash part does not occur', () => {
  const modulo = new HashModulo('sha1', self);
  modulo.push(Buffer.from('short'));
  assert.equal(modulo.finish(), hashBytes('sha1', 'short'));
});

test('HashModulo does not depend on how the bytes are cut when they come in chunks', () => {
  const pieces = fc.array(fc.constantFrom(self, self.slice(0, 31), self.slice(1), 'x', zeros), { maxLength: 8 });
  fc.assert(
    fc.property(pieces, fc.array(fc.nat({ max: 200 }), { maxLength: 6 }), (texts, cuts) => {
      const bytes = Buffer.from(texts.join(''));
      const whole = new HashModulo('sha256', self);
      whole.push(Buffer.from(bytes));
      const cut = new HashModulo('sha256', self);
      const places = [0, ...cuts.map((place) => Math.min(place, bytes.length)), bytes.length].toSorted((a, b) => a - b);
      for (const [index, place] of places.entries()) cut.push(bytes.subarray(place, places[index + 1] ?? bytes.length));
      assert.equal(cut.finish(), whole.finish());
    }),
  );
});
