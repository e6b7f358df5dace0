import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leftOutOf, type PackageLock, readPackageLock, withLeftOut } from './support/package-lock.ts';

test('package-lock.json holds every optional dependency, as npm ci demands', async () => {
  assert.deepEqual(leftOutOf(await readPackageLock()), [], 'type: npm run complete-lock');
});

test('leftOutOf and withLeftOut complete a lock file when packages for other platforms are missing', () => {
  const tool = { version: '1.0.0', dev: true, optionalDependencies: { '@t/x-linux-x64-musl': '1.0.0', here: '2.0.0' } };
  const lock: PackageLock = {
    lockfileVersion: 3,
    packages: { '': {}, 'node_modules/tool': tool, 'node_modules/tool/node_modules/here': { version: '2.0.0' } },
  };
  assert.deepEqual(leftOutOf(lock), [{ name: '@t/x-linux-x64-musl', version: '1.0.0', dev: true }]);
  const complete = withLeftOut(lock, leftOutOf(lock));
  assert.deepEqual(leftOutOf(complete), []);
  assert.deepEqual(complete.packages['node_modules/@t/x-linux-x64-musl'], {
    version: '1.0.0',
    cpu: ['x64'],
    dev: true,
    libc: ['musl'],
    optional: true,
    os: ['linux'],
  });
});
