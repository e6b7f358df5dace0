import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ERROR_TABLE, explainWriteError, NixferryError } from './errors.ts';

test('docs/reference/errors.md lists exactly the codes of ERROR_TABLE, each with its exit code and summary', async () => {
  const page = await readFile(new URL('../../docs/reference/errors.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| `([a-z-]+)` +\| (\d+) +\| (.+?) +\| .+ \|$/gm)].map((row) => row.slice(1, 4));
  const table = Object.entries(ERROR_TABLE).map(([code, kind]) => [code, String(kind.exitCode), kind.summary]);
  assert.deepEqual(rows, table);
});

test('every code of ERROR_TABLE is given by name somewhere in the sources', async () => {
  const sources = new URL('..', import.meta.url);
  const names = await readdir(sources, { recursive: true });
  const files = names.filter((name) => /(?<!\.test)\.ts$/.test(name) && name !== join('base', 'errors.ts'));
  const texts = await Promise.all(files.map((name) => readFile(new URL(name, sources), 'utf8')));
  const unused = Object.keys(ERROR_TABLE).filter((code) => !texts.some((text) => text.includes(`'${code}'`)));
  assert.deepEqual(unused, []);
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
