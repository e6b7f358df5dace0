import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openMirror } from '../src/mirror/mirror.ts';
import { assertNothingHalfVisible, indexRows } from './support/mirror-checks.ts';
import { publishAll, WORKER_PATHS } from './support/publish-worker.ts';
import { start } from './support/run.ts';
import { makeTempDir } from './support/temp-dir.ts';

const worker = fileURLToPath(new URL('support/publish-worker.ts', import.meta.url));
const KILLS = 12;

test('publish shows nothing half-made and goes on where it was when its process is killed again and again', async () => {
  await using temp = await makeTempDir('crash');
  const directory = temp.join('mirror');
  let visible = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    {
      await using running = start(process.execPath, [worker, directory]);
      await running.waitForOutput(/open/);
      // Killing at any moment is the point: from before the first file to after the last narinfo.
      await Promise.race([delay(Math.random() * 150), running.done]);
      await running.stop('SIGKILL');
    }
    // The lock died with its holder, and nobody has tidied up: a reader looks at exactly what was left.
    await using reader = await openMirror(directory, { access: 'read' });
    const now = await assertNothingHalfVisible(reader);
    assert.ok(now >= visible);
    visible = now;
    assert.equal((await reader.index.totals()).paths, visible);
  }
  await publishAll(directory);
  await using mirror = await openMirror(directory, { access: 'write' });
  assert.equal(await assertNothingHalfVisible(mirror), WORKER_PATHS);
  const rows = await indexRows(mirror);
  await mirror.index.rebuild();
  assert.deepEqual(await indexRows(mirror), rows);
  assert.deepEqual(await readdir(mirror.layout.partialFolder), []);
  assert.deepEqual(await readdir(mirror.layout.tempFolder), []);
});

test('openMirror gives the lock to the next process when its holder was killed', async () => {
  await using temp = await makeTempDir('crash');
  const directory = temp.join('mirror');
  await using first = start(process.execPath, [worker, directory]);
  await first.waitForOutput(/open/);
  first.child.kill('SIGSTOP');
  await assert.rejects(openMirror(directory, { access: 'write' }), {
    code: 'mirror-locked',
    exitCode: 19,
    message: new RegExp(`process ${first.child.pid} \\(publish-worker\\)`),
  });
  await first.stop('SIGKILL');
  await (await openMirror(directory, { access: 'write' })).close();
});
