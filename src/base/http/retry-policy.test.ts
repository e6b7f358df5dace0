import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isRetryableStatus, parseRetryAfter, retryDelayMs } from './retry-policy.ts';

const policy = { attempts: 5, baseMs: 100, ceilingMs: 1000, random: () => 0.5 };

test('isRetryableStatus holds for what time may change, and for nothing else', () => {
  for (const status of [408, 429, 500, 502, 503, 504, 507, 599]) assert.ok(isRetryableStatus(status), String(status));
  for (const status of [200, 206, 301, 400, 401, 403, 404, 407, 410, 416, 418, 501, 505, 511, 600]) {
    assert.ok(!isRetryableStatus(status), String(status));
  }
});

test('retryDelayMs doubles, leaves half to chance, and stops at the ceiling', () => {
  assert.deepEqual(
    [1, 2, 3, 4, 5, 50].map((attempt) => retryDelayMs(policy, attempt)),
    [75, 150, 300, 600, 750, 750],
  );
  assert.equal(retryDelayMs({ ...policy, random: () => 0 }, 1), 50);
  assert.ok(retryDelayMs({ ...policy, random: () => 0.999999 }, 1) <= 100);
});

test('retryDelayMs waits at least as long as the server asks, but no longer than the ceiling', () => {
  const unlucky = { ...policy, random: () => 0 };
  assert.equal(retryDelayMs(unlucky, 1, 700), 700);
  assert.equal(retryDelayMs(unlucky, 1, 3_600_000), 1000);
  assert.ok(retryDelayMs(policy, 1, 700) > 700);
});

test('parseRetryAfter reads seconds and the dates of HTTP', () => {
  const nowMs = Date.UTC(2026, 0, 1);
  assert.equal(parseRetryAfter('0', nowMs), 0);
  assert.equal(parseRetryAfter(' 120 ', nowMs), 120_000);
  assert.equal(parseRetryAfter('Thu, 01 Jan 2026 00:00:07 GMT', nowMs), 7000);
  assert.equal(parseRetryAfter('Thu Jan  1 00:00:07 2026 GMT', nowMs), 7000);
  assert.equal(parseRetryAfter('Wed, 31 Dec 2025 23:00:00 GMT', nowMs), 0);
});

test('parseRetryAfter ignores what is neither', () => {
  for (const value of [undefined, '', 'soon', '-5', '1.5', 'Thu, nonsense', '1e9']) {
    assert.equal(parseRetryAfter(value, 0), undefined, String(value));
  }
});
