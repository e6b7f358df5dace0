import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openMisses, readMisses } from '../mirror/misses.ts';
import { makeMirror, openApp } from './mirror-fixture.test.ts';
import { MissRecorder, recogniseMiss } from './miss-recorder.ts';

const PART = '0'.repeat(32);
const DIGEST = 'ab'.repeat(32);

test('recogniseMiss knows what is worth asking for elsewhere, and nothing else', () => {
  assert.deepEqual(recogniseMiss(`/${PART}.narinfo`), { kind: 'narinfo', name: PART });
  assert.equal(recogniseMiss(`/hashed/sha256/${DIGEST}`)?.kind, 'source');
  assert.deepEqual(recogniseMiss('/flakes/nixpkgs/nixos-99.11.tar.gz?x'), {
    kind: 'flake',
    name: 'nixpkgs/nixos-99.11',
  });
  assert.deepEqual(recogniseMiss('/channels/nixos-99.11'), { kind: 'channel', name: 'nixos-99.11' });
  assert.deepEqual(recogniseMiss('/channels/nixos-99.11/nixexprs.tar.xz'), { kind: 'channel', name: 'nixos-99.11' });
  assert.deepEqual(recogniseMiss('/git/git.example.org/team/lib.git/info/refs?service=git-upload-pack'), {
    kind: 'repository',
    name: 'git.example.org/team/lib',
  });
  assert.equal(recogniseMiss('/git/../x/info/refs'), undefined);
  for (const address of ['/', `/${'e'.repeat(32)}.narinfo`, '/nar/x.nar', '/hashed/x', '/channels/', '/log/x.drv']) {
    assert.equal(recogniseMiss(address), undefined, address);
  }
});

test('what clients ask for in vain is written down once, with how often, and nothing that they got', async () => {
  await using mirror = await makeMirror();
  const file = join(mirror.directory, '.nixferry/misses.sqlite');
  const { hashPart } = await mirror.addPath('here');
  {
    await using app = await openApp(mirror.directory);
    for (const url of [`/${PART}.narinfo`, `/${PART}.narinfo`, `/${hashPart}.narinfo`, '/channels/nixos-99.11', '/x']) {
      await app.inject(url);
    }
  }
  assert.deepEqual(readMisses(file), [
    { kind: 'narinfo', name: PART, count: 2 },
    { kind: 'channel', name: 'nixos-99.11', count: 1 },
  ]);
});

test('MissRecorder serves on, and says so once, when the mirror cannot be written to', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-misses-'));
  try {
    const file = join(folder, 'misses.sqlite');
    await writeFile(file, 'no database, and longer than a header of one '.repeat(40));
    const said: string[] = [];
    const log = { info: () => {}, error: (_: unknown, message: string) => void said.push(message) };
    await using recorder = new MissRecorder(file, log);
    for (let round = 0; round < 3; round += 1) {
      recorder.note(`/${PART}.narinfo`);
      recorder.flush();
    }
    assert.equal(said.length, 1);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('openMisses keeps the most wanted when there are too many', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-misses-'));
  try {
    const table = openMisses(join(folder, 'misses.sqlite'));
    const many = Array.from({ length: 20_001 }, (_, index) => ({
      kind: 'flake' as const,
      name: `flake-${index}`,
      count: index + 1,
    }));
    table.add(many);
    assert.equal(table.list().length, 20_000);
    assert.equal(table.list()[0]?.name, 'flake-20000');
    assert.ok(!table.list().some(({ name }) => name === 'flake-0'));
    table.remove([{ kind: 'flake', name: 'flake-20000' }]);
    assert.equal(table.list()[0]?.name, 'flake-19999');
    table.close();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
