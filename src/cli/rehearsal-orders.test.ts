import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quoteForShell } from '../base/shell-word.ts';
import { splitWords } from './rehearsal-orders.ts';

test('splitWords takes apart what quoteForShell and spaces put together', () => {
  const words = ['-f', '<nixpkgs/nixos>', '-A', 'system', '--argstr', 'name', 'it\'s $HOME; \\ and "more"', 'a  b', ''];
  assert.deepEqual(splitWords(words.map(quoteForShell).join(' ')), words);
  assert.deepEqual(splitWords('path:/home/anna/config#nixosConfigurations.web01'), [
    'path:/home/anna/config#nixosConfigurations.web01',
  ]);
  assert.deepEqual(splitWords('  '), []);
});

test('splitWords gives nothing when a quote is not closed', () => {
  assert.equal(splitWords("-f 'half"), undefined);
});
