import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { asCandidate, fakeStorePath, makeFakePath } from '../../test/support/fake-paths.ts';
import { assertNothingHalfVisible, visibleNarInfos } from '../../test/support/mirror-checks.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { hashBytes } from '../nix/hash.ts';
import { formatNarInfo } from '../nix/narinfo.ts';
import {
  formatRealisation,
  formatRealisationPath,
  parseRealisation,
  type Realisation,
  signRealisation,
  trustedRealisationSignature,
} from '../nix/realisation.ts';
import { publicKeyOf, trustedSignature } from '../nix/signature.ts';
import { baseNameOf, hashPartOf } from '../nix/store-path.ts';
import { rotateMirrorKey } from './key-rotation.ts';
import { narInfoName } from './layout.ts';
import { openMirror } from './mirror.ts';
import { publish } from './publish.ts';
import { signPaths } from './sign-paths.ts';
import { signRealisations } from './sign-realisations.ts';

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

test('signRealisations adds the new key to what the mirror has signed, and to nothing else', async () => {
  await using temp = await makeTempDir('sign');
  const [own, foreign] = [unsignedRealisation('own'), unsignedRealisation('foreign')];
  {
    await using mirror = await openMirror(temp.join('mirror'), { access: 'write', create: true, keyName: 'one' });
    const signed = signRealisation(own, mirror.secretKey);
    await mirror.storage.write(formatRealisationPath(own.key), formatRealisation(signed));
    await mirror.storage.write(formatRealisationPath(foreign.key), formatRealisation(foreign));
    await mirror.storage.write('realisations/odd.doi', 'no JSON');
    await rotateMirrorKey(mirror, 'two');
  }
  await using mirror = await openMirror(temp.join('mirror'), { access: 'write' });
  assert.equal(await signRealisations(mirror), 1);
  assert.equal(await signRealisations(mirror), 0);
  const read = parseRealisation((await mirror.storage.read(formatRealisationPath(own.key))) ?? '', own.key);
  for (const key of mirror.signingKeys) assert.ok(trustedRealisationSignature(read, [publicKeyOf(key)]) !== undefined);
});

function unsignedRealisation(name: string): Realisation {
  return {
    key: { layout: 'realisations', derivationHash: hashBytes('sha256', name), outputName: 'out' },
    outPath: baseNameOf(fakeStorePath(name)),
    signatures: [],
    dependencies: new Map(),
  };
}
