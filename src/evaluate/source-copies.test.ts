import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { findOriginal, listFolders } from './source-copies.ts';

let folder = '';
const at = (...names: string[]) => join(folder, ...names);
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'nixferry-copies-'));
  for (const name of ['original', 'copy']) {
    mkdirSync(at(name, 'src', 'empty'), { recursive: true });
    writeFileSync(at(name, 'src', 'main'), 'main');
    symlinkSync('main', at(name, 'src', 'link'));
  }
  writeFileSync(at('original', 'README'), 'left out');
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('findOriginal finds the folder when all or a part of it was copied', () => {
  rmSync(at('copy', 'src', 'empty'), { recursive: true });
  assert.equal(findOriginal(at('copy'), [at('nowhere'), at('original')]), at('original'));
  assert.equal(findOriginal(at('copy', 'src'), listFolders(at('original'))), at('original', 'src'));
  assert.equal(findOriginal(at('copy', 'src', 'main'), [at('original', 'src', 'main')]), at('original', 'src', 'main'));
});

const differs = (change: () => void) => {
  rmSync(at('changed'), { recursive: true, force: true });
  mkdirSync(at('changed'));
  writeFileSync(at('changed', 'main'), 'main');
  symlinkSync('main', at('changed', 'link'));
  assert.notEqual(findOriginal(at('changed'), [at('original', 'src')]), undefined);
  change();
  assert.equal(findOriginal(at('changed'), [at('original', 'src')]), undefined);
};

test('findOriginal finds none when a name, a content, a link or a mode differs, or there is nothing to compare', () => {
  differs(() => writeFileSync(at('changed', 'more'), ''));
  differs(() => writeFileSync(at('changed', 'main'), 'niam'));
  differs(() => chmodSync(at('changed', 'main'), 0o755));
  differs(() => {
    rmSync(at('changed', 'link'));
    symlinkSync('other', at('changed', 'link'));
  });
  differs(() => mkdirSync(at('changed', 'empty')));
});
