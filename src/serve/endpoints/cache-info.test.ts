import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeMirror, openApp } from '../mirror-fixture.test.ts';

test('nix-cache-info has the priority of the mirror, or the one asked for, and always allows mass queries', async () => {
  await using mirror = await makeMirror();
  await using app = await openApp(mirror.directory);
  const answer = await app.inject('/nix-cache-info');
  assert.equal(answer.statusCode, 200);
  assert.equal(answer.headers['content-type'], 'text/x-nix-cache-info');
  assert.equal(answer.body, 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 35\n');
  await using preferred = await openApp(mirror.directory, { priority: 7 });
  assert.match((await preferred.inject('/nix-cache-info')).body, /^Priority: 7$/m);
  await mirror.write('nix-cache-info', 'StoreDir: /nix/store\n');
  assert.equal((await app.inject('/nix-cache-info')).body, 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n');
});
