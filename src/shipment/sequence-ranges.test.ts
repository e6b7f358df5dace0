import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { formatSequences, parseSequences } from './sequence-ranges.ts';

suite('sequence-ranges', () => {
  test('formatSequences joins neighbours, whatever their order and number', () => {
    assert.equal(formatSequences([]), '');
    assert.equal(formatSequences([4]), '4');
    assert.equal(formatSequences([9, 4, 6, 5, 4]), '4-6,9');
  });

  test('parseSequences gives what formatSequences wrote, sorted', () => {
    assert.deepEqual(parseSequences('9,4-6', 10), [4, 5, 6, 9]);
    assert.deepEqual(parseSequences('42', 10), [42]);
  });

  for (const text of ['', '0', 'x', '4-', '-4', '6-4', '1-11', '1,', '1234567890', '4 5']) {
    test(`parseSequences gives nothing for ${JSON.stringify(text)} when at most ten are allowed`, () => {
      assert.equal(parseSequences(text, 10), undefined);
    });
  }
});
