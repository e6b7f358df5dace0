import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTally } from './tally.ts';

test('createTally writes phases and notices at once, and sums of what is done once a second', () => {
  const clock = { ms: 0 };
  const written: unknown[] = [];
  const tally = createTally(
    (type, fields) => written.push([type, fields]),
    () => clock.ms,
  );
  tally.on({ type: 'phase', phase: 'fetch', totalItems: 3 });
  tally.on({ type: 'advance', items: 1, bytes: 10 });
  clock.ms = 1000;
  tally.on({ type: 'advance', items: 1, bytes: 5 });
  tally.on({ type: 'advance', items: 1, bytes: 5 });
  tally.on({ type: 'notice', message: 'hm' });
  tally.on({ type: 'phase', phase: '' });
  assert.deepEqual(written, [
    ['phase', { phase: 'fetch', totalItems: 3 }],
    ['progress', { phase: 'fetch', items: 2, bytes: 15 }],
    ['notice', { message: 'hm' }],
  ]);
});
