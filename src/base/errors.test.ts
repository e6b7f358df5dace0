import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { ERROR_TABLE, explainWriteError, NixferryError } from './errors.ts';

test('docs/reference/errors.md lists exactly the codes of ERROR_TABLE, each with its exit code and summary', async () => {
  const page = await readFile(new URL('../../docs/reference/errors.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| `([a-z-]+)` +\| (\d+) +\| (.+?) +\| .+ \|$/gm)].map((row) => row.slice(1, 4));
  const table = Object.entries(ERROR_TABLE).map(([code, kind]) => [code, String(kind.exitCode), kind.summary]);
  assert.deepEqual(rows, table);
});

test('explainWriteError names the place when a disk is full, and leaves other errors alone', () => {
  const full = Object.assign(new Error('write'), { code: 'ENOSPC' });
  const explained = explainWriteError(full, '/media/stick');
  assert.ok(explained instanceof NixferryError);
  assert.deepEqual([explained.code, explained.exitCode, explained.cause], ['no-space', 15, full]);
  assert.match(explained.message, /\/media\/stick/);
  const other = new Error('other');
  assert.equal(explainWriteError(other, '/x'), other);
});
