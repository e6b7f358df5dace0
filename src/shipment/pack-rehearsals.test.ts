import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import { readRehearsalLog, readRehearsals, writeRehearsal } from '../mirror/rehearsals.ts';
import { findRehearsals } from './pack-rehearsals.ts';

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nixferry-rehearsals-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const root = (name: string, digest = name) =>
  ({ name, request: `.#${name}`, scope: 'reconfigure', digest: digest.repeat(64).slice(0, 64) }) as const;
const [A, B] = [root('a'), root('b')];

function rehearsed(text: string, roots: readonly (typeof A)[], ended = `2026-01-01T00:00:0${text.length}.000Z`) {
  const about = { verdict: 'complete', nix: 'nix (Nix) 2.8.0', generator: 'nixferry 1', ended, roots };
  return writeRehearsal({ directory }, Buffer.from(text), about);
}

test('findRehearsals takes the latest rehearsal of each root that holds, with the roots by position', async () => {
  await rehearsed('1', [B]);
  await rehearsed('22', [B]);
  await rehearsed('333', [A]);
  const { packed, outdated } = await findRehearsals({ directory }, [A, B]);
  assert.deepEqual(
    packed.map(({ stated, log }) => [stated.name, stated.roots, log.toString(), stated.sizeBytes]),
    [
      ['rehearsal-1.txt', [0], '333', 3],
      ['rehearsal-2.txt', [1], '22', 2],
    ],
  );
  assert.deepEqual(outdated, []);
});

test('findRehearsals takes one rehearsal of several roots once, also when more is packed', async () => {
  await rehearsed('1', [B, A]);
  const { packed } = await findRehearsals({ directory }, [A, root('c'), B]);
  assert.deepEqual(
    packed.map(({ stated }) => stated.roots),
    [[0, 2]],
  );
});

test('findRehearsals leaves out what proves nothing: other paths, or others that may have helped', async () => {
  await rehearsed('1', [root('a', 'c')]);
  await rehearsed('22', [A, B]);
  const changed = await findRehearsals({ directory }, [root('a', 'd')]);
  assert.deepEqual([changed.packed, changed.outdated], [[], [{ root: 'a', reason: 'changed' }]]);
  const alone = await findRehearsals({ directory }, [A]);
  assert.deepEqual([alone.packed, alone.outdated], [[], [{ root: 'a', reason: 'others' }]]);
  const unknown = await findRehearsals({ directory }, [root('z')]);
  assert.deepEqual(unknown, { packed: [], outdated: [] });
});

test('findRehearsals never packs a log that is not what it was', async () => {
  const { logFile } = await rehearsed('1', [A]);
  await writeFile(logFile, 'another');
  assert.deepEqual((await findRehearsals({ directory }, [A])).packed, []);
});

test('writeRehearsal keeps the latest and removes the others, and what cannot be read is passed over', async () => {
  await mkdir(join(directory, '.nixferry/rehearsals'), { recursive: true });
  await writeFile(join(directory, '.nixferry/rehearsals', `${'0'.repeat(64)}.json`), '{broken');
  for (let count = 0; count <= LIMITS.rehearsalsKept; count += 1) {
    await rehearsed(`log ${count}`, [A], new Date(count * 1000).toISOString());
  }
  const all = await readRehearsals({ directory });
  assert.equal(all.length, LIMITS.rehearsalsKept);
  assert.equal(
    (await readRehearsalLog({ directory }, all[0]?.log.sha256 ?? ''))?.toString(),
    `log ${LIMITS.rehearsalsKept}`,
  );
  const files = await readdir(join(directory, '.nixferry/rehearsals'));
  assert.equal(files.filter((name) => name.endsWith('.txt')).length, LIMITS.rehearsalsKept);
});
