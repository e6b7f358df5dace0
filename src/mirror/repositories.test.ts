import assert from 'node:assert/strict';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeRepository, type RepositoryFixture } from '../../test/support/git-repository.ts';
import { NixferryError } from '../base/errors.ts';
import { readRepositoryPointer, restoreRepositories, showRepository } from './repositories.ts';
import { makeRootId, type RootRepository, writeRoot } from './roots.ts';

const shipment = (sequence: number) => ({ sender: 'office-1', site: 'lab', sequence });

test('showRepository moves branches with a later shipment, and not back with an older one, whose commits it adds', async () => {
  await using fixture = await makeRepository();
  const { mirror, place } = fixture;
  const one = await fixture.commit('one');
  const first = await fixture.collectOne();
  const two = await fixture.commit('two');
  const second = await fixture.collectOne();
  await rm(join(mirror.directory, 'git'), { recursive: true });

  await showRepository(mirror, second, { shipment: shipment(2) });
  assert.equal(await branch(fixture), two);
  await showRepository(mirror, first, { shipment: shipment(1) });
  assert.equal(await branch(fixture), two);
  await showRepository(mirror, first, { shipment: shipment(3) });
  assert.equal(await branch(fixture), one);
  const pointer = await readRepositoryPointer(mirror, place);
  assert.deepEqual(Object.keys(pointer?.packs ?? {}).toSorted(), [first.path, second.path].toSorted());
});

test('showRepository has git look at an update together with what it builds on', async () => {
  await using fixture = await makeRepository();
  const { mirror, folder, place } = fixture;
  // What a tree says of submodules git reads from a file that may be in an earlier pack.
  await writeFile(join(folder, 'work/.gitmodules'), '[submodule "a"]\n\tpath = a\n\turl = https://git.example.org/a\n');
  await fixture.commit('one');
  await fixture.collectOne();
  const two = await fixture.commit('two');
  const second = await fixture.collectOne();
  const before = await contents(join(mirror.directory, 'git', place));
  await rm(join(mirror.directory, 'git'), { recursive: true });
  await showRepository(mirror, second);
  assert.equal(await branch(fixture), two);
  assert.deepEqual(await contents(join(mirror.directory, 'git', place)), before);
});

test('restoreRepositories shows what came last, whichever root is restored first', async () => {
  await using fixture = await makeRepository();
  await fixture.commit('one');
  const first = await fixture.collectOne();
  const two = await fixture.commit('two');
  const second = await fixture.collectOne();
  for (const names of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    await record(fixture, first, names[0]);
    await record(fixture, second, names[1]);
    await restoreRepositories(fixture.mirror);
    assert.equal(await branch(fixture), two);
    await rm(join(fixture.mirror.directory, 'git'), { recursive: true });
    await restoreRepositories(fixture.mirror);
    assert.equal(await branch(fixture), two);
  }
});

test('restoreRepositories makes again what is missing, and what is damaged where packs are read', async () => {
  await using fixture = await makeRepository();
  const { mirror, place } = fixture;
  await fixture.commit('one');
  const repository = await fixture.collectOne();
  await record(fixture, repository);
  const folder = join(mirror.directory, 'git', place);
  const original = await contents(folder);
  for (const name of original.keys()) {
    await rm(join(folder, name));
    assert.deepEqual(await restoreRepositories(mirror), { places: [place], problems: [] });
    assert.deepEqual(await contents(folder), original, name);
  }
  for (const name of original.keys()) {
    if (!name.startsWith('objects/pack/')) continue;
    const bytes = Buffer.from(original.get(name) ?? '', 'latin1');
    bytes[bytes.length - 30] = (bytes[bytes.length - 30] ?? 0) ^ 1;
    await writeFile(join(folder, name), bytes);
    await restoreRepositories(mirror, { readPacks: true });
    assert.deepEqual(await contents(folder), original, name);
  }
});

test('restoreRepositories tells of a repository whose paths are gone', async () => {
  await using fixture = await makeRepository();
  await fixture.commit('one');
  const repository = await fixture.collectOne();
  await record(fixture, repository);
  await rm(join(fixture.mirror.directory, `${repository.path.slice(0, 32)}.narinfo`));
  const { problems } = await restoreRepositories(fixture.mirror);
  assert.match(problems[0] ?? '', /cannot be used: it is not in the mirror/);
  await assert.rejects(
    showRepository(fixture.mirror, repository),
    (error: unknown) => error instanceof NixferryError && error.code === 'damage',
  );
});

async function record({ mirror }: RepositoryFixture, repository: RootRepository, name = 'origin'): Promise<void> {
  const identity = { name, request: name, scope: 'run', origin: 'collected' } as const;
  const paths = [repository.path];
  const common = { format: 1, rootPaths: paths, paths, complete: true, repositories: [repository] } as const;
  await writeRoot(mirror, { ...common, ...identity, id: makeRootId(identity) });
}

async function branch({ mirror, place }: RepositoryFixture): Promise<string | undefined> {
  const refs = await readFile(join(mirror.directory, 'git', place, 'info/refs'), 'utf8');
  return /^([0-9a-f]{40})\trefs\/heads\/main$/m.exec(refs)?.[1];
}

async function contents(folder: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    files.set(file.slice(folder.length + 1), await readFile(file, 'latin1'));
  }
  return files;
}
