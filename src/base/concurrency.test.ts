import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteBudget, mapConcurrent, Semaphore } from './concurrency.ts';

test('mapConcurrent keeps the order of the items when calls finish out of order', async () => {
  const finish: (() => void)[] = [];
  const results = mapConcurrent([10, 20, 30], 3, async (item, index) => {
    await new Promise<void>((resolve) => finish.push(resolve));
    return item + index;
  });
  await settled();
  for (const call of finish.toReversed()) call();
  assert.deepEqual(await results, [10, 21, 32]);
});

test('mapConcurrent runs as many calls as the limit allows and no more', async () => {
  let running = 0;
  let most = 0;
  await mapConcurrent(numbers(50), 7, async () => {
    most = Math.max(most, ++running);
    await settled();
    running -= 1;
  });
  assert.equal(most, 7);
});

test('mapConcurrent reads no further ahead of an async source than its limit', async () => {
  let read = 0;
  async function* source() {
    for (;;) yield read++;
  }
  const stop = new Error('stop');
  await assert.rejects(
    mapConcurrent(source(), 3, async (item) => {
      assert.ok(read - item <= 4);
      await settled();
      if (item === 20) throw stop;
    }),
    stop,
  );
});

test('mapConcurrent waits for running calls before it throws when one fails', async () => {
  let finished = 0;
  let started = 0;
  const failing = mapConcurrent(numbers(20), 4, async (item) => {
    started += 1;
    if (item === 1) throw new Error('one');
    await settled();
    finished += 1;
  });
  await assert.rejects(failing, /one/);
  assert.equal(finished, started - 1);
  assert.ok(started < 20);
});

test('mapConcurrent starts nothing more when the signal aborts, and throws its reason', async () => {
  const controller = new AbortController();
  let started = 0;
  const work = mapConcurrent(
    numbers(100),
    2,
    async () => {
      if (++started === 5) controller.abort(new Error('enough'));
      await settled();
    },
    controller.signal,
  );
  await assert.rejects(work, /enough/);
  assert.ok(started <= 6);
});

test('Semaphore lets waiters in one by one in the order of their coming', async () => {
  const semaphore = new Semaphore(1);
  const order: number[] = [];
  await Promise.all(
    [1, 2, 3].map((turn) =>
      semaphore.use(async () => {
        order.push(turn);
        await settled();
        order.push(turn);
      }),
    ),
  );
  assert.deepEqual(order, [1, 1, 2, 2, 3, 3]);
});

test('ByteBudget makes small requests wait behind a large one, which they would starve', async () => {
  const budget = new ByteBudget(10);
  const order: string[] = [];
  await budget.acquire(6);
  const large = budget.acquire(8).then(() => order.push('large'));
  const small = budget.acquire(1).then(() => order.push('small'));
  await settled();
  assert.deepEqual(order, []);
  budget.release(6);
  await Promise.all([large, small]);
  assert.deepEqual(order, ['large', 'small']);
});

test('ByteBudget runs a request above the whole budget alone', async () => {
  const budget = new ByteBudget(10);
  let inside = 0;
  await Promise.all(
    [50, 50].map((bytes) =>
      budget.use(bytes, async () => {
        assert.equal(++inside, 1);
        await settled();
        inside -= 1;
      }),
    ),
  );
});

test('ByteBudget frees the queue when a waiter aborts', async () => {
  const budget = new ByteBudget(10);
  const controller = new AbortController();
  await budget.acquire(6);
  const large = budget.acquire(8, controller.signal);
  const small = budget.acquire(4);
  controller.abort(new Error('gone'));
  await assert.rejects(large, /gone/);
  await small;
  budget.release(10);
  assert.throws(() => budget.release(1), /more bytes were released/);
});

test('Semaphore refuses a limit that would never let anything run', () => {
  assert.throws(() => new Semaphore(0), RangeError);
});

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

/** Lets everything that can go on do so. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
