import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeMirror, openApp } from '../mirror-fixture.test.ts';

test('readyz gives the reasons when the server should not be asked', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  assert.equal((await app.inject('/healthz')).statusCode, 200);
  const ready = await app.inject('/readyz');
  assert.equal(ready.statusCode, 200);
  assert.equal(ready.json().ready, true);
  await rm(join(mirror.directory, 'nix-cache-info'));
  await rm(join(mirror.directory, 'nar'), { recursive: true });
  app.stop();
  const answer = await app.inject('/readyz');
  assert.equal(answer.statusCode, 503);
  const failed = answer
    .json<{ checks: { name: string; ok: boolean; reason?: string }[] }>()
    .checks.filter(({ ok }) => !ok);
  assert.deepEqual(
    failed.map(({ name }) => name),
    ['running', 'nix-cache-info', 'nar folder readable'],
  );
  assert.ok(failed.every(({ reason }) => reason !== undefined && reason !== ''));
  assert.equal((await app.inject('/nix-cache-info')).statusCode, 404);
});
