import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { asCandidate, fakeStorePath, makeFakePath } from '../../test/support/fake-paths.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { formatNarInfo } from '../nix/narinfo.ts';
import { generateSecretKey, publicKeyOf } from '../nix/signature.ts';
import { baseNameOf } from '../nix/store-path.ts';
import { openMirror } from './mirror.ts';
import { publish } from './publish.ts';
import { writeRoot } from './roots.ts';
import { mirrorStatus } from './status.ts';
import { trustKey } from './trusted-keys.ts';

test('mirrorStatus counts what is there and what was left unfinished', async () => {
  await using temp = await makeTempDir('status');
  await mkdir(temp.join('files'));
  await using mirror = await openMirror(temp.join('mirror'), { access: 'write', create: true, keyName: 'carrier-1' });
  const path = await makeFakePath('hello');
  await publish(mirror, [await asCandidate(path, temp.join('files'))]);
  const paths = [baseNameOf(fakeStorePath('hello'))];
  const root = {
    format: 1,
    id: 'hello',
    name: 'hello',
    request: 'nixpkgs#hello',
    scope: 'run',
    rootPaths: paths,
  } as const;
  await writeRoot(mirror, { ...root, paths, complete: true, origin: 'collected' });
  await trustKey(mirror, 'sender', publicKeyOf(generateSecretKey('far-1')));
  await writeFile(join(mirror.layout.partialFolder, 'half'), 'x'.repeat(100));
  await publish(mirror, [await asCandidate(await makeFakePath('fetched'), temp.join('files'))]);
  await mkdir(join(mirror.layout.proxyFolder, 'held'), { recursive: true });
  await writeFile(join(mirror.layout.proxyFolder, 'held', `${'1'.repeat(32)}.narinfo`), 'x');
  await writeFile(join(mirror.layout.withheldFolder, `${'0'.repeat(32)}.narinfo`), formatNarInfo(path.info));

  await using reader = await openMirror(mirror.directory, { access: 'read' });
  const status = await mirrorStatus(reader);
  assert.equal(status.totals.paths, 2);
  assert.deepEqual([status.pathsInNoRoot, status.pathsWaiting], [1, 1]);
  assert.deepEqual(
    status.roots.map(({ name, pathCount, complete }) => [name, pathCount, complete]),
    [['hello', 1, true]],
  );
  assert.equal(status.publicKey?.name, 'carrier-1');
  assert.deepEqual(
    status.trustedSenders.map(({ name }) => name),
    ['far-1'],
  );
  assert.deepEqual(status.trustedUpstreams, []);
  assert.ok(status.freeBytes > 0);
  const none = { quarantined: 0, journals: 0, damaged: 0 };
  assert.deepEqual(status.interrupted, { partialFiles: 1, partialBytes: 100, withheld: 1, ...none });
});

test('mirrorStatus works on a plain binary cache without a key', async () => {
  await using temp = await makeTempDir('status');
  await writeFile(temp.join('nix-cache-info'), 'StoreDir: /nix/store\n');
  await using mirror = await openMirror(temp.path, { access: 'read' });
  const status = await mirrorStatus(mirror);
  assert.equal(status.publicKey, undefined);
  assert.equal(status.totals.paths, 0);
  assert.deepEqual(status.roots, []);
});
