import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { GIT_ENVIRONMENT, makeRepository } from '../../test/support/git-repository.ts';
import { readRepositoryState } from '../mirror/repository-bundle.ts';
import { hashPartOf } from '../nix/index.ts';

test('collectRepositories sends nothing of a repository that has not changed, and of another one what is new', async () => {
  await using fixture = await makeRepository();
  const { mirror } = fixture;
  await fixture.commit('one '.repeat(10_000));
  const first = await fixture.collectOne();
  assert.deepEqual(await fixture.collectOne(), first);

  const second = await fixture.commit('two');
  fixture.git('tag', '-a', '-m', 'said', 'v1');
  fixture.git('push', '-q', '--tags', 'origin');
  const changed = await fixture.collectOne();
  const info = await mirror.readNarInfo(hashPartOf(changed.path));
  assert.deepEqual(info?.references, [`/nix/store/${first.path}`]);
  const state = await readRepositoryState(mirror, changed.path);
  assert.equal(state?.head, 'refs/heads/main');
  assert.deepEqual(
    state?.refs.map(({ name, peeled }) => [name, peeled]),
    [
      ['refs/heads/main', undefined],
      ['refs/tags/v1', second],
    ],
  );
  assert.deepEqual(await fixture.collectOne(), changed);
  assert.deepEqual(await readdir(mirror.layout.tempFolder), []);
});

test('collectRepositories shows a bare repository that git finds nothing wrong with', async () => {
  await using fixture = await makeRepository();
  await fixture.commit('one');
  await fixture.collectOne();
  fixture.git('checkout', '-q', '-b', 'side');
  await fixture.commit('aside');
  // Only what a branch leads to is another thing, no object is new.
  fixture.git('push', '-q', 'origin', 'side:other');
  await fixture.collectOne();
  fixture.git('push', '-q', 'origin', 'side:third');
  await fixture.collectOne();
  const folder = join(fixture.mirror.directory, 'git', fixture.place);
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'safe.directory=*', '--git-dir', folder, ...args], {
      env: GIT_ENVIRONMENT,
      encoding: 'utf8',
    });
  git('fsck', '--strict');
  assert.equal(git('for-each-ref', '--format=%(refname:short)').trim(), 'main\nother\nside\nthird');
  assert.equal(git('show', 'third:word'), 'aside');
});

test('collectRepositories carries one branch alone, beside all of them', async () => {
  await using fixture = await makeRepository();
  await fixture.commit('one');
  fixture.git('checkout', '-q', '-b', 'side');
  await fixture.commit('aside');
  const side = await fixture.collectOne('side');
  const names = async (path: typeof side.path) =>
    (await readRepositoryState(fixture.mirror, path))?.refs.map(({ name }) => name);
  assert.deepEqual(await names(side.path), ['refs/heads/side']);
  const all = await fixture.collectOne();
  assert.deepEqual(await names(all.path), ['refs/heads/main', 'refs/heads/side']);
  assert.deepEqual((await fixture.collectOne('side')).path, side.path);
});

test('collectRepositories takes a branch that was forced elsewhere, and keeps the commits of before', async () => {
  await using fixture = await makeRepository();
  const lost = await fixture.commit('one');
  await fixture.collectOne();
  fixture.git('checkout', '-q', '--orphan', 'anew');
  fixture.git('branch', '-D', 'main');
  fixture.git('checkout', '-q', '-b', 'main');
  const now = await fixture.commit('anew');
  await fixture.collectOne();
  const folder = join(fixture.mirror.directory, 'git', fixture.place);
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'safe.directory=*', '--git-dir', folder, ...args], {
      env: GIT_ENVIRONMENT,
      encoding: 'utf8',
    });
  assert.equal(git('rev-parse', 'main').trim(), now);
  assert.equal(git('show', `${lost}:word`), 'one');
});

test('collectRepositories names a repository that cannot be had, and leaves what is here of it as it is', async () => {
  await using fixture = await makeRepository();
  const nothing = await fixture.collect();
  assert.deepEqual(nothing.roots, []);
  assert.match(nothing.problems[0]?.detail ?? '', /without any branch or tag/);
  await fixture.commit('one');
  assert.match((await fixture.collect('none')).problems[0]?.detail ?? '', /has no branch or tag none/);
  await rm(join(fixture.folder, 'origin.git'), { recursive: true });
  const { roots, problems } = await fixture.collect();
  assert.deepEqual(roots, []);
  assert.match(problems[0]?.detail ?? '', /git ended with 128\n.*does not (?:exist|appear)/);
  assert.deepEqual(problems[0]?.blocks, ['origin']);
  assert.match(problems[0]?.next ?? '', /git ls-remote /);
});
