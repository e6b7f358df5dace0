import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asCandidate, makeFakePath } from '../../test/support/fake-paths.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { baseNameOf } from '../nix/store-path.ts';
import { recordCachedPath, recordCachedPaths } from './cached-roots.ts';
import { openMirror } from './mirror.ts';
import { publish } from './publish.ts';
import { readRoots } from './roots.ts';

test('recordCachedPaths makes one root of what no root holds, and recordCachedPath one of a path', async () => {
  await using temp = await makeTempDir('cached');
  await using mirror = await openMirror(temp.join('mirror'), { access: 'write', create: true });
  assert.equal(await recordCachedPaths(mirror), undefined);
  const library = await makeFakePath('library');
  const program = await makeFakePath('program', { references: [library.info.storePath] });
  const other = await makeFakePath('other');
  const candidates = await Promise.all([library, program, other].map((fake) => asCandidate(fake, temp.path)));
  await publish(mirror, candidates);
  assert.equal(await recordCachedPath(mirror, (await makeFakePath('absent')).info.storePath), undefined);

  const one = await recordCachedPath(mirror, program.info.storePath);
  assert.deepEqual(one?.rootPaths, [baseNameOf(program.info.storePath)]);
  assert.deepEqual(one?.paths.toSorted(), [library, program].map(({ info }) => baseNameOf(info.storePath)).toSorted());
  const rest = await recordCachedPaths(mirror);
  assert.deepEqual(rest?.paths, [baseNameOf(other.info.storePath)]);
  assert.ok(rest?.complete);
  assert.deepEqual(
    new Set((await readRoots(mirror)).map(({ name }) => name)),
    new Set([program.info.storePath, 'cached']),
  );
});
