import assert from 'node:assert/strict';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { asCandidate, makeFakePath } from '../../test/support/fake-paths.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { publicKeyOf, trustedSignature } from '../nix/signature.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { readFormerKeys, readValidPublicKeys, retireFormerKey, rotateMirrorKey } from './key-rotation.ts';
import { openMirror } from './mirror.ts';
import { publish } from './publish.ts';

const names = (keys: readonly { readonly name: string }[]): string[] => keys.map(({ name }) => name);

test('rotateMirrorKey keeps the old key beside the new one until it is retired', async () => {
  await using temp = await makeTempDir('rotation');
  const directory = temp.join('mirror');
  {
    await using mirror = await openMirror(directory, { access: 'write', create: true, keyName: 'one' });
    await rotateMirrorKey(mirror, 'two');
    await assert.rejects(rotateMirrorKey(mirror, 'one'), { code: 'bad-key' });
    await assert.rejects(rotateMirrorKey(mirror, 'two'), { code: 'bad-key' });
    await rotateMirrorKey(mirror, 'three');
  }
  assert.deepEqual(names(await readFormerKeys({ directory })), ['one', 'two']);
  assert.deepEqual(names(await readValidPublicKeys({ directory })), ['three', 'one', 'two']);
  const secretFile = join(directory, '.nixferry/keys/former/one.secret');
  assert.equal((await stat(secretFile)).mode & 0o777, 0o600);
  assert.equal(await retireFormerKey({ directory }, 'one'), true);
  assert.equal(await retireFormerKey({ directory }, 'one'), false);
  assert.deepEqual(names(await readValidPublicKeys({ directory })), ['three', 'two']);
  await using mirror = await openMirror(directory, { access: 'write' });
  assert.deepEqual(names(mirror.signingKeys), ['three', 'two']);
});

test('publish signs with the former keys too, so that clients with either key go on', async () => {
  await using temp = await makeTempDir('rotation');
  const folder = temp.join('files');
  await mkdir(folder);
  {
    await using mirror = await openMirror(temp.join('mirror'), { access: 'write', create: true, keyName: 'one' });
    await rotateMirrorKey(mirror, 'two');
  }
  await using mirror = await openMirror(temp.join('mirror'), { access: 'write' });
  const { info } = await makeFakePath('hello');
  await publish(mirror, [await asCandidate({ ...(await makeFakePath('hello')) }, folder)]);
  const seen = await mirror.readNarInfo(hashPartOf(info.storePath));
  assert.ok(seen !== undefined);
  for (const key of mirror.signingKeys) assert.ok(trustedSignature(seen, [publicKeyOf(key)]) !== undefined, key.name);
});
