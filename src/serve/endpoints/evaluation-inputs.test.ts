import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeFileAtomic } from '../../base/files.ts';
import { parseEvaluationInputs } from '../../mirror/evaluation-inputs.ts';
import { type RootRecord, writeRoot } from '../../mirror/roots.ts';
import type { StorePathBaseName } from '../../nix/index.ts';
import { makeMirror, openApp } from '../mirror-fixture.test.ts';

const PATH = `${'0'.repeat(32)}-source` as StorePathBaseName;
const OTHER = `${'1'.repeat(32)}-tool` as StorePathBaseName;

test('the list of evaluation inputs follows the records of roots', async () => {
  await using mirror = await makeMirror();
  await mkdir(join(mirror.directory, '.nixferry/roots'));
  await using app = await openApp(mirror.directory);
  const empty = await app.inject('/nixferry/evaluation-inputs.json');
  assert.deepEqual(parseEvaluationInputs(empty.rawPayload, 'here').roots, []);
  assert.equal((await app.inject('/nixferry/evaluation-inputs.txt')).body, '');

  await using later = await openApp(mirror.directory);
  await writeRoot(mirror, recordOf('web01', [PATH, OTHER]));
  await writeRoot(mirror, recordOf('db01', [PATH]));
  const answer = await later.inject('/nixferry/evaluation-inputs.json');
  assert.equal(answer.headers['content-type'], 'application/json');
  const { storeDir, roots } = parseEvaluationInputs(answer.rawPayload, 'here');
  assert.equal(storeDir, '/nix/store');
  assert.deepEqual(
    roots.map(({ name, inputs }) => [name, inputs.map(({ path }) => path)]),
    [
      ['db01', [PATH]],
      ['web01', [PATH, OTHER]],
    ],
  );
  const text = await later.inject('/nixferry/evaluation-inputs.txt');
  assert.equal(text.body, `/nix/store/${PATH}\n/nix/store/${OTHER}\n`);
});

test('the list of evaluation inputs is a 500, and not an empty list, when a record is damaged', async () => {
  await using mirror = await makeMirror();
  await mkdir(join(mirror.directory, '.nixferry/roots'));
  await writeFileAtomic(join(mirror.directory, '.nixferry/roots/x.json'), '{');
  await using app = await openApp(mirror.directory);
  assert.equal((await app.inject('/nixferry/evaluation-inputs.json')).statusCode, 500);
});

test('parseEvaluationInputs refuses what is no such list, or that of a newer Nixferry', () => {
  assert.throws(parse({ format: 2 }), { code: 'newer-format' });
  assert.throws(parse([]), { code: 'damage' });
  assert.throws(parse({ format: 1, storeDir: '/nix/store', roots: [{ id: '../x' }] }), { code: 'damage' });
  const root = { id: 'x', name: 'x', request: 'x', complete: true };
  const inputs = [{ kind: 'flake', name: 'n', path: '--option' }];
  assert.throws(parse({ format: 1, storeDir: '/nix/store', roots: [{ ...root, inputs }] }), { code: 'damage' });
});

function parse(value: unknown) {
  return () => parseEvaluationInputs(Buffer.from(JSON.stringify(value)), 'there');
}

function recordOf(name: string, paths: readonly StorePathBaseName[]): RootRecord {
  return {
    format: 1,
    id: name,
    name,
    request: name,
    scope: 'reconfigure',
    rootPaths: [],
    paths,
    complete: true,
    origin: 'imported',
    evaluationInputs: paths.map((path) => ({ kind: 'fetched', name: 'x', path })),
  };
}
