import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readBounded } from '../../src/base/files.ts';
import type { Storage } from '../../src/mirror/storage.ts';

/** Opens a new, empty storage and a folder for local files, for the time of `use`. */
export type WithStorage = (use: (storage: Storage, localFolder: string) => Promise<void>) => Promise<void>;

/** What every storage owes to the mirror, whatever it keeps its bytes in. */
export function testStorageConformance(kind: string, withStorage: WithStorage): void {
  const check = (name: string, use: (storage: Storage, localFolder: string) => Promise<void>): void => {
    test(`${kind} ${name}`, () => withStorage(use));
  };

  check('reads back what was written, and only the last of it', async (storage) => {
    await storage.write('a.narinfo', 'first, and longer');
    await storage.write('a.narinfo', 'second');
    assert.equal((await storage.read('a.narinfo'))?.toString(), 'second');
    assert.equal((await storage.stat('a.narinfo'))?.sizeBytes, 6);
  });

  check('knows nothing of a file that was not written', async (storage) => {
    await storage.write('nar/x', 'x');
    for (const name of ['missing', 'nar', 'nar/missing', 'nar/x/below', 'nowhere/x']) {
      assert.equal(await storage.read(name).catch(isDamage), undefined, name);
      assert.equal(await storage.stat(name), undefined, name);
      assert.equal(await storage.open(name), undefined, name);
    }
  });

  check('reads many files in the order of their names, and leaves gaps for what is not there', async (storage) => {
    const names = Array.from({ length: 600 }, (_, index) => `${index}.narinfo`);
    await storage.writeInOrder([names.map((name) => ({ name, bytes: name }))]);
    const asked = ['gone', ...names.toReversed(), 'nar'];
    const contents = await storage.readMany(asked);
    assert.deepEqual(
      contents.map((stored) => stored?.bytes.toString()),
      [undefined, ...names.toReversed(), undefined],
    );
    const stats = await storage.statMany(asked);
    for (const [index, stored] of stats.entries()) {
      assert.equal(stored?.modifiedMs, contents[index]?.modifiedMs);
      assert.equal(stored?.sizeBytes, contents[index]?.sizeBytes);
    }
    assert.deepEqual(stats[1], await storage.stat(names.at(-1) ?? ''));
    await assert.rejects(async () => storage.readMany(['../up']), { code: 'not-a-mirror' });
    await assert.rejects(async () => storage.statMany(['../up']), { code: 'not-a-mirror' });
  });

  check('gives the range that is asked for, cut at the end of the file', async (storage) => {
    await storage.write('nar/digits', '0123456789');
    const cases = [
      [{ start: 0, end: 0 }, '0'],
      [{ start: 3, end: 5 }, '345'],
      [{ start: 8, end: 20 }, '89'],
      [{ start: 10, end: 20 }, ''],
      [undefined, '0123456789'],
    ] as const;
    for (const [range, expected] of cases) {
      const opened = await storage.open('nar/digits', range);
      assert.equal(opened?.sizeBytes, 10);
      assert.equal((await readBounded(opened.stream, 100)).toString(), expected);
    }
  });

  check('opens an empty file', async (storage) => {
    await storage.write('nar/empty', '');
    const opened = await storage.open('nar/empty');
    assert.equal(opened?.sizeBytes, 0);
    assert.equal((await readBounded(opened.stream, 100)).length, 0);
  });

  check('takes a local file in by moving it', async (storage, localFolder) => {
    const file = join(localFolder, 'finished');
    await writeFile(file, 'whole');
    await storage.adopt(file, 'nar/adopted');
    assert.equal((await storage.read('nar/adopted'))?.toString(), 'whole');
    await assert.rejects(readFile(file), { code: 'ENOENT' });
  });

  check('takes many local files in', async (storage, localFolder) => {
    const files = Array.from({ length: 40 }, (_, index) => ({
      file: join(localFolder, `file-${index}`),
      name: `nar/${index}`,
    }));
    for (const { file } of files) await writeFile(file, file);
    await storage.adoptMany(files);
    for (const { file, name } of files) assert.equal((await storage.read(name))?.toString(), file);
  });

  check('gives a file back by moving it out', async (storage, localFolder) => {
    await storage.write('nar/bad', 'bytes');
    await storage.release('nar/bad', join(localFolder, 'bad'));
    await storage.release('nar/never-there', join(localFolder, 'nothing'));
    assert.equal(await storage.stat('nar/bad'), undefined);
    assert.equal(await readFile(join(localFolder, 'bad'), 'utf8'), 'bytes');
  });

  check('writes groups one after the other', async (storage) => {
    const written: string[] = [];
    function* groups() {
      for (const letter of ['a', 'b', 'c']) {
        yield [1, 2, 3].map((digit) => ({ name: `${letter}${digit}`, bytes: letter }));
        written.push(letter);
      }
    }
    await storage.writeInOrder(groups());
    assert.deepEqual(written, ['a', 'b', 'c']);
    for (const letter of written) assert.equal((await storage.read(`${letter}3`))?.toString(), letter);
  });

  check('leaves earlier groups in place and nothing of later ones when a group cannot be written', async (storage) => {
    await storage.write('taken/by', 'a folder');
    const groups = ['first', 'taken', 'third'].map((name) => [{ name, bytes: name }]);
    await assert.rejects(storage.writeInOrder(groups));
    assert.deepEqual(await namesOf(storage, ''), ['first', 'taken/by']);
  });

  check('lists by prefix, deep or shallow', async (storage) => {
    for (const name of ['nix-cache-info', 'a.narinfo', 'nar/1.nar', 'nar/2.nar.xz', 'log/deep/er', 'nardoc']) {
      await storage.write(name, name);
    }
    assert.deepEqual(await namesOf(storage, 'nar/'), ['nar/1.nar', 'nar/2.nar.xz']);
    assert.deepEqual(await namesOf(storage, 'nar'), ['nar/1.nar', 'nar/2.nar.xz', 'nardoc']);
    assert.deepEqual(await namesOf(storage, '', true), ['a.narinfo', 'nardoc', 'nix-cache-info']);
    assert.deepEqual(await namesOf(storage, 'log/'), ['log/deep/er']);
    assert.deepEqual(await namesOf(storage, 'nowhere/'), []);
  });

  check('removes what is there, and does not mind what is not', async (storage) => {
    await storage.write('nar/1', '1');
    await storage.remove('nar/1');
    await storage.remove('nar/1');
    await storage.removeInOrder([['x', 'nar/2'], ['y/z']]);
    assert.equal(await storage.stat('nar/1'), undefined);
  });

  check('says that it has changed when a file at the top was added, replaced or removed', async (storage) => {
    if ((await storage.changeToken()) === undefined) return;
    await storage.write('nar/1', '1');
    const changes = [
      () => storage.write('a.narinfo', 'one'),
      () => storage.write('a.narinfo', 'two'),
      () =>
        storage
          .remove('a.narinfo')
          .then(() => storage.write('b.narinfo', ''))
          .then(() => storage.remove('b.narinfo')),
    ];
    for (const change of changes) {
      const before = await storage.changeToken();
      assert.equal(await storage.changeToken(), before);
      // The clock of a file system ticks every few milliseconds: what happens within a tick may look like one change.
      for (let tries = 0; tries < 1000 && (await storage.changeToken()) === before; tries++) await change();
      assert.notEqual(await storage.changeToken(), before);
    }
  });

  check('refuses names that lead elsewhere', async (storage, localFolder) => {
    const names = [
      '',
      '/etc/passwd',
      '../up',
      'nar/../../up',
      'nar/',
      'nar//x',
      '.nixferry/keys/secret',
      'nar/.hidden',
    ];
    for (const name of [...names, 'a\0b', 'a\\b', 'a\nb', `nar/${'x'.repeat(256)}`, 'x/'.repeat(600)]) {
      const refused = { code: 'not-a-mirror' };
      await assert.rejects(async () => storage.read(name), refused, name);
      await assert.rejects(async () => storage.write(name, ''), refused, name);
      await assert.rejects(async () => storage.open(name), refused, name);
      await assert.rejects(async () => storage.stat(name), refused, name);
      await assert.rejects(async () => storage.remove(name), refused, name);
      const file = join(localFolder, 'local');
      await writeFile(file, 'kept');
      await assert.rejects(async () => storage.adopt(file, name), refused, name);
      assert.equal(await readFile(file, 'utf8'), 'kept');
    }
  });

  check('shows readers the old file or the whole new one while it is replaced', async (storage) => {
    const contents = ['a', 'b'].map((letter) => letter.repeat(100_000));
    await storage.write('big', contents[0] ?? '');
    for (let round = 0; round < 20; round++) {
      const [, ...seen] = await Promise.all([
        storage.write('big', contents[round % 2] ?? ''),
        storage.read('big'),
        storage.read('big'),
        storage.read('big'),
      ]);
      for (const bytes of seen) assert.ok(contents.includes(bytes?.toString() ?? ''));
    }
  });
}

async function namesOf(storage: Storage, prefix: string, shallow = false): Promise<string[]> {
  const names: string[] = [];
  for await (const name of storage.list(prefix, { shallow })) names.push(name);
  return names.toSorted();
}

/** A folder under a file's name may be called damage by who reads it whole; it is no file either way. */
function isDamage(error: unknown): undefined {
  assert.equal((error as { code?: string }).code, 'damage');
  return undefined;
}
