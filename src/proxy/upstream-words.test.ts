import assert from 'node:assert/strict';
import { test } from 'node:test';
import { upstreamWarning } from './upstream-words.ts';

test('upstreamWarning tells a line that is down from an address that is wrong, and is silent about what answers', () => {
  const url = 'http://cache.lan';
  assert.equal(upstreamWarning({ url, state: 'up' }), undefined);
  assert.match(
    upstreamWarning({ url, state: 'down', reason: 'it refuses' }) ?? '',
    /does not answer: it refuses\. .*when it is back/,
  );
  const wrong = upstreamWarning({ url, state: 'unusable', reason: 'no binary cache', next: 'check the address' }) ?? '';
  assert.match(wrong, /of no use as it is: no binary cache\. [^\n]*\nnext: {2}check the address$/);
});
