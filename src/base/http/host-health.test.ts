import assert from 'node:assert/strict';
import { test } from 'node:test';
import { instantClock } from '../../../test/support/instant-clock.ts';
import { LIMITS } from '../limits.ts';
import { HostHealth } from './host-health.ts';
import { HttpError, type TransportFailure } from './http-error.ts';

const ORIGIN = 'http://a';

function failure(stage: TransportFailure['stage']): TransportFailure {
  const kind = stage === 'transfer' ? 'broken' : stage === 'headers-timeout' ? 'stalled' : 'host-down';
  return { stage, error: new HttpError(kind, ORIGIN, stage) };
}

const ignore = (): void => {};

test('HostHealth lets one request find out about a new host while the others wait', async () => {
  const health = new HostHealth(instantClock());
  const first = await health.visit(ORIGIN, undefined);
  let entered = 0;
  const others = Array.from({ length: 5 }, async () => {
    const visit = await health.visit(ORIGIN, undefined);
    entered += 1;
    visit.leave();
  });
  await Promise.resolve();
  assert.equal(entered, 0);
  await first.begin(undefined, ignore);
  first.answered();
  await Promise.all(others);
  assert.equal(entered, 5);
});

test('HostHealth tells all who wait when the first connection to a host fails', async () => {
  const health = new HostHealth(instantClock());
  const first = await health.visit(ORIGIN, undefined);
  const others = Array.from({ length: 5 }, () => health.visit(ORIGIN, undefined));
  await first.begin(undefined, ignore);
  const down = first.failed(failure('connect-timeout'), false);
  assert.equal(down?.failure, 'host-down');
  for (const other of others) await assert.rejects(other, { failure: 'host-down' });
  await assert.rejects(health.visit(ORIGIN, undefined), { failure: 'host-down' });
});

test('HostHealth lets the next in when the first gives up', async () => {
  const health = new HostHealth(instantClock());
  const first = await health.visit(ORIGIN, undefined);
  const next = health.visit(ORIGIN, undefined);
  const third = health.visit(ORIGIN, undefined);
  first.leave();
  (await next).answered();
  (await third).leave();
});

test('HostHealth does not wait when the signal has aborted, nor keep waiting when it does', async () => {
  const health = new HostHealth(instantClock());
  const controller = new AbortController();
  await health.visit(ORIGIN, undefined);
  const waiting = health.visit(ORIGIN, controller.signal);
  controller.abort(new Error('enough'));
  await assert.rejects(waiting, { message: 'enough' });
  await assert.rejects(health.visit(ORIGIN, controller.signal), { message: 'enough' });
});

test('HostHealth lets one request try a dead host again after a while, and others go on failing at once', async () => {
  const clock = instantClock();
  const health = new HostHealth(clock);
  const first = await health.visit(ORIGIN, undefined);
  first.failed(failure('connect'), true);
  clock.advance(LIMITS.hostDownMs + 1);
  const second = await health.visit(ORIGIN, undefined);
  await assert.rejects(health.visit(ORIGIN, undefined), { failure: 'host-down' });
  second.failed(failure('connect'), true);
  // Twice as long the second time.
  clock.advance(LIMITS.hostDownMs + 1);
  await assert.rejects(health.visit(ORIGIN, undefined), { failure: 'host-down' });
  clock.advance(LIMITS.hostDownMs);
  const third = await health.visit(ORIGIN, undefined);
  third.answered();
  (await health.visit(ORIGIN, undefined)).leave();
});

test('HostHealth counts a host that has answered as dead only when it gives no sign of life', async () => {
  const health = new HostHealth(instantClock());
  const visit = await health.visit(ORIGIN, undefined);
  visit.answered();
  const failing = await health.visit(ORIGIN, undefined);
  const told: HttpError[] = [];
  const bystander = await health.visit(ORIGIN, undefined);
  await bystander.begin(undefined, (error) => told.push(error));
  await failing.begin(undefined, ignore);
  visit.signOfLife();
  assert.equal(failing.failed(failure('connect-timeout'), true), undefined);
  await failing.begin(undefined, ignore);
  assert.equal(failing.failed(failure('connect'), false), undefined);
  await failing.begin(undefined, ignore);
  assert.equal(failing.failed(failure('transfer'), true), undefined);
  await failing.begin(undefined, ignore);
  assert.equal(told.length, 0);
  assert.equal(failing.failed(failure('connect-timeout'), false)?.failure, 'host-down');
  assert.equal(told.length, 1);
  // The one that was told does not make it worse by its own failure.
  assert.equal(bystander.failed(failure('connect-timeout'), false)?.failure, 'host-down');
});

test('HostHealth makes everybody wait when a host asks to be left alone', async () => {
  const clock = instantClock();
  const health = new HostHealth(clock);
  const visit = await health.visit(ORIGIN, undefined);
  visit.answered();
  visit.stayAway(5000);
  const other = await health.visit(ORIGIN, undefined);
  await other.begin(undefined, ignore);
  assert.ok(clock.sleptMs.some((sleptMs) => Math.round(sleptMs) === 5000));
});
