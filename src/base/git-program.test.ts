import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { GitFailed, runGit, withoutGit } from './git-program.ts';

test('runGit tells what git said when it fails, as one line each and without what steers a terminal', async () => {
  await using fake = await fakeGit(
    'printf "Receiving objects: 1%%\\rremote: \\033[31mno\\nfatal: gone\\n" >&2; exit 128',
  );
  await assert.rejects(fake.run(), (error: unknown) => {
    assert.ok(error instanceof GitFailed);
    assert.equal(error.message, 'trying: git ended with 128\n  remote: \\u{1b}[31mno\n  fatal: gone');
    return true;
  });
});

test('runGit stops git when it says nothing for too long, when it is aborted, and all that git has started', async () => {
  await using fake = await fakeGit('sleep 1000 & echo $! > "$0.pid"; echo started >&2; wait');
  await assert.rejects(fake.run({ silenceMs: 300 }), /it stood still/);
  const pid = Number(await readFile(`${fake.file}.pid`, 'utf8'));
  // Who has ended may still wait to be buried.
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State:\tgone');
  assert.match(status, /^State:\t(?:Z|X|gone)/m);
  const stop = new AbortController();
  const running = fake.run({ signal: stop.signal });
  stop.abort(new Error('enough'));
  await assert.rejects(running, /enough/);
});

test('runGit refuses to go on without git', async () => {
  const searchPath = process.env['PATH'];
  process.env['PATH'] = '/nonexistent';
  try {
    await assert.rejects(runGit({ args: [], purpose: 'trying' }), { code: 'program-missing' });
  } finally {
    process.env['PATH'] = searchPath;
  }
});

test('withoutGit leaves out what would have git work elsewhere, and keeps how it reaches others', () => {
  const kept = { PATH: '/bin', GIT_SSH_COMMAND: 'ssh -i key', GIT_CONFIG_GLOBAL: '/x' };
  const left = {
    GIT_DIR: '/x',
    GIT_WORK_TREE: '/x',
    GIT_OBJECT_DIRECTORY: '/x',
    GIT_ALTERNATE_OBJECT_DIRECTORIES: '/x',
  };
  assert.deepEqual(withoutGit({ ...kept, ...left }), kept);
});

async function fakeGit(script: string) {
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-git-'));
  const file = join(folder, 'git');
  await writeFile(file, `#!/bin/sh\n${script}\n`);
  await chmod(file, 0o755);
  return {
    file,
    run: async (options: { silenceMs?: number; signal?: AbortSignal } = {}) => {
      const searchPath = process.env['PATH'] ?? '';
      process.env['PATH'] = `${folder}:${searchPath}`;
      try {
        return await runGit({ args: [], purpose: 'trying', ...options });
      } finally {
        process.env['PATH'] = searchPath;
      }
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
