import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { test } from 'node:test';
import { fakeStorePath } from '../../test/support/fake-paths.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { Evaluations } from './evaluations.ts';

test('Evaluations reads derivations of the store where nothing was evaluated, and knows no others', async () => {
  await using temp = await makeTempDir('store');
  await using evaluations = new Evaluations(temp.path);
  const [here, elsewhere] = [fakeStorePath('here.drv'), fakeStorePath('elsewhere.drv')];
  await writeFile(temp.join(basename(here)), 'Derive()');
  assert.equal((await evaluations.derivation(here))?.toString(), 'Derive()');
  assert.equal(await evaluations.derivation(elsewhere), undefined);
});
