import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nixferryCommand } from '../../../test/support/nixferry.ts';
import { run } from '../../../test/support/run.ts';
import { makeTempDir } from '../../../test/support/temp-dir.ts';

test('init says when a mirror is there already, and how its key is changed', async () => {
  await using temp = await makeTempDir('init');
  const init = (...args: string[]) => run(nixferryCommand, ['init', '--mirror', temp.join('mirror'), ...args]);
  const first = await init('--key-name', 'ship-1');
  assert.match(first.stdout, /^The mirror is .*\nship-1:\S+\n$/);
  const second = await init();
  assert.match(second.stdout, /^The mirror .* is there already, and nothing was changed\. /);
  assert.equal(second.stdout.split('\n')[1], first.stdout.split('\n')[1]);
  assert.equal(second.stderr, '');
  const renamed = await init('--key-name', 'ship-2');
  assert.match(renamed.stderr, /not named ship-2\nnext: {2}to change it: nixferry keys rotate --name ship-2\n$/);
});
