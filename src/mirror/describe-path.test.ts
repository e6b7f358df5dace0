import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { infoOf, makeTempFolder, makeTestMirror, makeTestRoot, SMALL_CLOSURE } from '../../test/support/shipments.ts';
import { formatNarInfo } from '../nix/narinfo.ts';
import { generateSecretKey, publicKeyOf, signNarInfo } from '../nix/signature.ts';
import { hashPartOf, parseHashPart } from '../nix/store-path.ts';
import { describePath } from './describe-path.ts';
import { narInfoName } from './layout.ts';
import { writeRoot } from './roots.ts';
import { trustKey } from './trusted-keys.ts';

test('describePath knows referrers, roots and the signature of the mirror', async () => {
  await using temp = await makeTempFolder();
  await using made = await makeTestMirror(join(temp.folder, 'mirror'), SMALL_CLOSURE);
  await writeRoot(made.mirror, makeTestRoot(made.paths, 'app', ['app']));
  const big = infoOf(made.paths, 'big');
  const path = await describePath(made.mirror, hashPartOf(big.storePath));
  assert.deepEqual(path?.info, big);
  assert.equal(path?.narFile, 'there');
  assert.deepEqual(path?.referrers, [infoOf(made.paths, 'app').storePath]);
  assert.deepEqual(
    path?.roots.map(({ root, isRootPath }) => [root.name, isRootPath]),
    [['app', false]],
  );
  assert.deepEqual(
    path?.signatures.map(({ keyName, state, key }) => [keyName, state, key?.role]),
    [['carrier-1', 'valid', 'this mirror']],
  );
});

test('describePath tells valid, wrong and unknown signatures apart', async () => {
  await using temp = await makeTempFolder();
  await using made = await makeTestMirror(join(temp.folder, 'mirror'), SMALL_CLOSURE);
  const upstream = generateSecretKey('upstream-1');
  await trustKey(made.mirror, 'upstream', publicKeyOf(upstream));
  await trustKey(made.mirror, 'upstream', publicKeyOf(generateSecretKey('forged-1')));
  let info = infoOf(made.paths, 'libc');
  for (const secret of [upstream, generateSecretKey('forged-1'), generateSecretKey('stranger-1')]) {
    info = signNarInfo(info, secret);
  }
  await made.mirror.storage.write(narInfoName(hashPartOf(info.storePath)), formatNarInfo(info));
  const path = await describePath(made.mirror, hashPartOf(info.storePath));
  const states = path?.signatures.map(({ keyName, state }) => `${keyName} ${state}`).toSorted();
  assert.deepEqual(states, ['carrier-1 valid', 'forged-1 wrong', 'stranger-1 unknown key', 'upstream-1 valid']);
});

test('describePath says so when the NAR is gone, and is undefined for a path that is not there', async () => {
  await using temp = await makeTempFolder();
  await using made = await makeTestMirror(join(temp.folder, 'mirror'), SMALL_CLOSURE);
  const libc = infoOf(made.paths, 'libc');
  await rm(join(temp.folder, 'mirror', libc.url));
  assert.equal((await describePath(made.mirror, hashPartOf(libc.storePath)))?.narFile, 'missing');
  assert.equal(await describePath(made.mirror, parseHashPart('0'.repeat(32))), undefined);
});
