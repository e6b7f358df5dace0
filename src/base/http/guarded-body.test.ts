import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LIMITS } from '../limits.ts';
import { type BodyGuard, type BodySource, GuardedBody } from './guarded-body.ts';

const URL_A = new URL('http://a/');

function guarded(chunks: AsyncIterable<Uint8Array>, changes: Partial<BodyGuard> = {}) {
  const readable = Readable.from(chunks);
  const dumped: number[] = [];
  const source: BodySource = Object.assign(readable, {
    async dump({ limit }: { limit: number }) {
      dumped.push(limit);
    },
  });
  let endCount = 0;
  const body = new GuardedBody(source, {
    url: URL_A,
    stallTimeoutMs: 300,
    expectedBytes: undefined,
    explain: (error) => error,
    onBytes: () => {},
    onEnd: () => {
      endCount += 1;
    },
    ...changes,
  });
  return { body, readable, dumped, endCount: () => endCount };
}

async function* pieces(count: number, sizeBytes: number, everyMs = 0): AsyncGenerator<Uint8Array> {
  for (let piece = 0; piece < count; piece++) {
    if (everyMs > 0) await sleep(everyMs);
    yield Buffer.alloc(sizeBytes);
  }
}

test('GuardedBody gives everything, and ends once', async () => {
  const { body, endCount } = guarded(pieces(10, 100), { expectedBytes: 1000 });
  assert.equal((await Array.fromAsync(body)).length, 10);
  assert.equal(endCount(), 1);
  assert.equal((await body.next()).done, true);
});

test('GuardedBody fails when fewer or more bytes come than announced', async () => {
  for (const expectedBytes of [999, 1001]) {
    const { body, readable, endCount } = guarded(pieces(10, 100), { expectedBytes });
    await assert.rejects(Array.fromAsync(body), { failure: 'broken' });
    assert.ok(readable.destroyed);
    assert.equal(endCount(), 1);
  }
});

test('GuardedBody takes a trickle for a stall, though no single wait is long', async () => {
  const { body } = guarded(pieces(600, 1, 1));
  await assert.rejects(Array.fromAsync(body), { failure: 'stalled' });
});

test('GuardedBody lets a slow transfer pass that brings enough in each stretch', async () => {
  // Three stretches; each wants one piece of forty, so that a busy machine may take a rest.
  const { body } = guarded(pieces(120, LIMITS.httpSlowestBytesPerStall, 6), { stallTimeoutMs: 250 });
  assert.equal((await Array.fromAsync(body)).length, 120);
});

test('GuardedBody frees its source when it is left, cancelled or drained, once', async () => {
  const left = guarded(pieces(100, 100));
  for await (const _ of left.body) break;
  assert.deepEqual([left.readable.destroyed, left.endCount()], [true, 1]);
  const cancelled = guarded(pieces(100, 100));
  cancelled.body.cancel();
  cancelled.body.drain();
  assert.deepEqual([cancelled.readable.destroyed, cancelled.endCount(), cancelled.dumped.length], [true, 1, 0]);
  const drained = guarded(pieces(100, 100));
  drained.body.drain();
  drained.body.cancel();
  assert.deepEqual([drained.readable.destroyed, drained.endCount(), drained.dumped.length], [false, 1, 1]);
});
