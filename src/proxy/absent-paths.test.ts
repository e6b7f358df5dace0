import assert from 'node:assert/strict';
import { test } from 'node:test';
import { instantClock } from '../../test/support/instant-clock.ts';
import { LIMITS } from '../base/limits.ts';
import { AbsentPaths } from './absent-paths.ts';

test('AbsentPaths forgets after a while, and the oldest where there are too many', () => {
  const clock = instantClock();
  const absent = new AbsentPaths(clock);
  absent.add('a');
  assert.ok(absent.has('a'));
  clock.advance(LIMITS.proxyAbsentMs + 1);
  assert.ok(!absent.has('a'));
  for (let index = 0; index <= LIMITS.proxyAbsentKept; index++) absent.add(String(index));
  assert.ok(!absent.has('0'));
  assert.ok(absent.has('1') && absent.has(String(LIMITS.proxyAbsentKept)));
});
