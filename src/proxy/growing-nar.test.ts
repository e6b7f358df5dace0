import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrowingNar } from './growing-nar.ts';

const growing = (availableBytes: number) => ({ say: 'growing', file: '/file', availableBytes, sizeBytes: 9 }) as const;

test('GrowingNar gives the latest word and wakes who waits for it', async () => {
  const nar = new GrowingNar(() => {});
  const waiting = nar.changed(nar.progress);
  nar.take(growing(3));
  nar.take(growing(5));
  assert.equal((await waiting).availableBytes, 5);
  nar.take({ say: 'verified', file: '/held', sizeBytes: 9 });
  assert.deepEqual(nar.progress, { file: '/held', availableBytes: 9, sizeBytes: 9, state: 'verified' });
  nar.take({ say: 'failed' });
  assert.equal(nar.progress.state, 'verified');
});

test('GrowingNar has failed when the file becomes shorter, and when it is closed', async () => {
  const nar = new GrowingNar(() => {});
  nar.take(growing(5));
  nar.take(growing(3));
  assert.equal(nar.progress.state, 'failed');
  let closed = 0;
  const other = new GrowingNar(() => (closed += 1));
  const waiting = other.changed(other.progress);
  other.close();
  assert.equal((await waiting).state, 'failed');
  assert.equal(closed, 1);
});
