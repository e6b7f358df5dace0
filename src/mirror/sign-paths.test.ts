import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { asCandidate, fakeStorePath, makeFakePath } from '../../test/support/fake-paths.ts';
import { assertNothingHalfVisible, visibleNarInfos } from '../../test/support/mirror-checks.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { formatNarInfo } from '../nix/narinfo.ts';
import { publicKeyOf, trustedSignature } from '../nix/signature.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { rotateMirrorKey } from './key-rotation.ts';
import { narInfoName } from './layout.ts';
import { openMirror } from './mirror.ts';
import { publish } from './publish.ts';
import { signPaths } from './sign-paths.ts';

test('signPaths adds the new key to what was published before, and keeps every signature', async () => {
  await using temp = await makeTempDir('sign');
  await mkdir(temp.join('files'));
  {
    await using mirror = await openMirror(temp.join('mirror'), { access: 'write', create: true, keyName: 'one' });
    const paths = await Promise.all(['a', 'b', 'c'].map((name) => makeFakePath(name)));
    await publish(mirror, await Promise.all(paths.map((path) => asCandidate(path, temp.join('files')))));
    await rotateMirrorKey(mirror, 'two');
  }
  await using mirror = await openMirror(temp.join('mirror'), { access: 'write' });
  const all = await mirror.index.hashParts();
  const absent = hashPartOf(fakeStorePath('nobody'));
  const first = await signPaths(mirror, [...all.slice(0, 2), absent]);
  assert.deepEqual(first, { signed: 2, already: 0, refused: [], absent: [absent] });
  assert.deepEqual(await signPaths(mirror, all), { signed: 1, already: 2, refused: [], absent: [] });
  for (const info of await visibleNarInfos(mirror)) {
    for (const key of mirror.signingKeys) assert.ok(trustedSignature(info, [publicKeyOf(key)]) !== undefined);
  }
  assert.equal(await assertNothingHalfVisible(mirror), 3);
  assert.equal((await mirror.index.totals()).paths, 3);
});

test('signPaths reads what no key of the mirror has signed, and signs it only when it is what its hash says', async () => {
  await using temp = await makeTempDir('sign');
  await mkdir(temp.join('files'));
  await using mirror = await openMirror(temp.join('mirror'), { access: 'write', create: true });
  const paths = await Promise.all(['good', 'bad'].map((name) => makeFakePath(name)));
  await publish(mirror, await Promise.all(paths.map((path) => asCandidate(path, temp.join('files')))));
  const infos = await visibleNarInfos(mirror);
  for (const info of infos) {
    await mirror.storage.write(narInfoName(hashPartOf(info.storePath)), formatNarInfo({ ...info, signatures: [] }));
  }
  const bad = infos.find(({ storePath }) => storePath.endsWith('-bad'));
  assert.ok(bad?.fileSizeBytes !== undefined);
  await writeFile(join(mirror.directory, bad.url), Buffer.alloc(bad.fileSizeBytes));
  const result = await signPaths(mirror, await mirror.index.hashParts());
  assert.equal(result.signed, 1);
  assert.deepEqual(
    result.refused.map(({ path }) => path),
    [bad.storePath],
  );
  const after = await visibleNarInfos(mirror);
  assert.deepEqual(
    after.filter(({ signatures }) => signatures.length === 0).map(({ storePath }) => storePath),
    [bad.storePath],
  );
});
