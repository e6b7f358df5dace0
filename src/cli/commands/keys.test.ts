import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nixferryCommand } from '../../../test/support/nixferry.ts';
import { run } from '../../../test/support/run.ts';
import { makeTempDir } from '../../../test/support/temp-dir.ts';

test('keys retire of the present key says what comes first', async () => {
  await using temp = await makeTempDir('retire');
  const mirror = ['--mirror', temp.join('mirror')];
  await run(nixferryCommand, ['init', ...mirror, '--key-name', 'ship-1']);
  const { stderr } = await run(nixferryCommand, ['keys', 'retire', 'ship-1', ...mirror], { exitCode: 2 });
  assert.match(
    stderr,
    /^error: ship-1 is the present key of the mirror: .*\nnext: {2}nixferry keys rotate makes a new key/,
  );
});
