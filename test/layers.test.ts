// The house has storeys; imports point down. See docs/architecture.md.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  drawPicture,
  type ImportStatement,
  importedNames,
  isTest,
  readImports,
  readPicture,
  roomOf,
  STOREYS,
} from './support/layers.ts';

const imports = await readImports();
// Unit tests may borrow the servers and clocks of test/support; what is shipped may not.
const betweenFiles = imports.filter(
  ({ from, to, kind }) => kind === 'file' && !(isTest(from) && to.startsWith('../test/support/')),
);

const storeyOf = (file: string): number => STOREYS.findIndex((rooms) => rooms.includes(roomOf(file)));
const isRoom = (file: string): boolean => storeyOf(file) !== -1;
const show = ({ from, to }: ImportStatement): string => `src/${from} imports ${to}`;

test('importedNames finds every kind of import when comments and strings look like one', () => {
  const source = [
    "import { a } from './a.ts';",
    "import type { B } from '../b.ts';",
    'import {',
    '  c,',
    "} from './c.ts';",
    "import './d.ts';",
    "export { e } from './e.ts';",
    "export * from './f.ts';",
    "const g = await import('./g.ts');",
    "// import { no } from './no.ts';",
    "export const text = 'import nothing from';",
    "export type Kind = 'import' | 'export';",
  ].join('\n');
  const expected = ['a', '../b', 'c', 'd', 'e', 'f', 'g'].map(
    (name) => `${name.startsWith('.') ? '' : './'}${name}.ts`,
  );
  assert.deepEqual(importedNames(source), expected);
});

test('every import names a room of the house, or test/support when a test imports', () => {
  assert.ok(betweenFiles.length > 0);
  const lost = betweenFiles.filter(
    ({ from, to }) => !isRoom(from) || !(isRoom(to) || (isTest(from) && to.startsWith('../test/support/'))),
  );
  assert.deepEqual(lost.map(show), []);
});

test('every import points down or stays in its room', () => {
  const upwards = betweenFiles.filter(({ from, to }) => roomOf(from) !== roomOf(to) && storeyOf(from) >= storeyOf(to));
  assert.deepEqual(upwards.map(show), []);
});

test('src/nix imports only itself and node:crypto', () => {
  const others = imports.filter(
    ({ from, to }) => roomOf(from) === 'nix' && !isTest(from) && roomOf(to) !== 'nix' && to !== 'node:crypto',
  );
  assert.deepEqual(others.map(show), []);
});

test('the picture in docs/architecture.md is what the imports are', async () => {
  assert.equal(await readPicture(), drawPicture(imports), 'type: npm run layers');
});
