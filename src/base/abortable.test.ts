import assert from 'node:assert/strict';
import { test } from 'node:test';
import { abortable } from './abortable.ts';

test('abortable throws the reason at once when the source has stalled', async () => {
  const controller = new AbortController();
  const seen: number[] = [];
  const reading = (async () => {
    for await (const item of abortable(stalling(), controller.signal)) {
      seen.push(item);
      setImmediate(() => controller.abort(new Error('stop')));
    }
  })();
  await assert.rejects(reading, /stop/);
  assert.deepEqual(seen, [1]);
});

test('abortable closes the source when the consumer leaves early', async () => {
  let closed = false;
  async function* source() {
    try {
      for (;;) yield 1;
    } finally {
      closed = true;
    }
  }
  for await (const item of abortable(source(), new AbortController().signal)) {
    assert.equal(item, 1);
    break;
  }
  assert.ok(closed);
});

test('abortable passes on the error of the source', async () => {
  const reading = (async () => {
    for await (const item of abortable(breaking(), new AbortController().signal)) assert.equal(item, 1);
  })();
  await assert.rejects(reading, /broken/);
});

async function* stalling() {
  yield 1;
  await new Promise(() => {});
}

async function* breaking() {
  yield 1;
  throw new Error('broken');
}
