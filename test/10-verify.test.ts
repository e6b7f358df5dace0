// A disk that forgets: `nixferry verify` takes what is damaged out of clients' sight, brings it back from an upstream, and says which of it was so.
import assert from 'node:assert/strict';
import { cp } from 'node:fs/promises';
import { test } from 'node:test';
import { openMirror } from '../src/mirror/mirror.ts';
import { formatPublicKey } from '../src/nix/index.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { run } from './support/run.ts';
import { flipBit, infoOf, makeTestMirror, SMALL_CLOSURE, visiblePaths } from './support/shipments.ts';
import { makeTempDir } from './support/temp-dir.ts';

test('nixferry verify ends with 14 when a path is damaged, with 13 when an upstream made it good, and then with 0', async () => {
  await using temp = await makeTempDir('verify');
  const [upstream, mirror] = [temp.join('upstream'), temp.join('mirror')];
  const made = await makeTestMirror(upstream, SMALL_CLOSURE);
  const key = formatPublicKey(made.mirror.publicKey);
  await made.mirror.close();
  await cp(upstream, mirror, { recursive: true });
  await flipBit(`${mirror}/${infoOf(made.paths, 'big').url}`, 5000);

  async function verify(...flags: string[]): Promise<[number | null, unknown]> {
    const { exitCode, stdout } = await run(nixferryCommand, ['verify', '--json', '--mirror', mirror, ...flags], {
      exitCode: 'any',
    });
    const verdict = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Record<string, unknown>;
    assert.equal(verdict['exitCode'], exitCode);
    return [exitCode, verdict['code']];
  }
  async function visible(): Promise<string[]> {
    await using opened = await openMirror(mirror, { access: 'read' });
    return visiblePaths(opened);
  }

  assert.deepEqual(await verify(), [14, 'damage']);
  assert.deepEqual(await visible(), ['libc']);
  assert.deepEqual(await verify('--upstream', `file://${upstream}`, '--trusted-public-key', key), [
    13,
    'damage-repaired',
  ]);
  assert.deepEqual(await visible(), ['app', 'big', 'libc']);
  assert.deepEqual(await verify(), [0, undefined]);
});
