// A shipment of a trusted sender whose repository of git holds what no git would have made: refused where git is installed, and nothing of it is shown.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { suite, test } from 'node:test';
import { publishBundle, treeOf } from '../src/collect/publish-bundle.ts';
import { openMirror } from '../src/mirror/mirror.ts';
import { showRepository } from '../src/mirror/repositories.ts';
import { makeRootId, type RootRepository, readRoots, writeRoot } from '../src/mirror/roots.ts';
import { formatPublicKey } from '../src/nix/index.ts';
import { packObjects } from '../src/upstream/git-repository.ts';
import { GIT_ENVIRONMENT, makeRepository, type RepositoryFixture } from './support/git-repository.ts';
import { nixferryCommand, repositoryRoot } from './support/nixferry.ts';
import { type RunResult, run } from './support/run.ts';

suite('a repository of git in a shipment', () => {
  const flaws = [
    { name: 'a tree with an entry ..', entry: '..', says: /hasDotdot/ },
    { name: 'a tree with an entry .git', entry: '.git', says: /hasDotgit/ },
    { name: 'a tree with an entry that is a path', entry: 'a/b', says: /fullPathname/ },
  ];
  for (const { name, entry, says } of flaws) {
    test(`is refused with ${name}: exit code 14, nothing shown, and the root is not complete`, async () => {
      await using fixture = await makeRepository();
      const blob = git(fixture, ['hash-object', '-w', '--stdin'], 'echo evil\n').trim();
      const bytes = Buffer.concat([Buffer.from(`100644 ${entry}\0`), Buffer.from(blob, 'hex')]);
      const tree = git(fixture, ['hash-object', '-w', '-t', 'tree', '--literally', '--stdin'], bytes).trim();
      const medium = await shipCommit(fixture, git(fixture, ['commit-tree', '-m', 'evil', tree], '').trim());
      const imported = await importInto(fixture, medium);
      assert.equal(imported.exitCode, 14, imported.stderr);
      assert.match(imported.stderr, says);
      assert.match(imported.stderr, /error: lab-0001: refused origin: .*\n(?:.*\n)*next: .*git fsck/);
      assert.deepEqual(await shown(fixture), { folder: false, complete: [false] });
      // Not the second time either, or by what makes repositories anew.
      assert.equal((await importInto(fixture, medium)).exitCode, 14);
      await run(nixferryCommand, ['verify', '--mirror', path.join(fixture.folder, 'site')], { exitCode: 'any' });
      assert.deepEqual(await shown(fixture), { folder: false, complete: [false] });
    });
  }

  test('is refused when a commit names what is not there', async () => {
    await using fixture = await makeRepository();
    const text = `tree ${'ab'.repeat(20)}\nauthor A <a@example.org> 0 +0000\ncommitter A <a@example.org> 0 +0000\n\nx\n`;
    const commit = git(fixture, ['hash-object', '-w', '-t', 'commit', '--literally', '--stdin'], text).trim();
    const medium = await shipCommit(fixture, commit, [commit]);
    const imported = await importInto(fixture, medium);
    assert.equal(imported.exitCode, 14, imported.stderr);
    assert.deepEqual(await shown(fixture), { folder: false, complete: [false] });
  });

  test('is shown when it is sound, with flaws that old commits have; and as it came where git is not installed', async () => {
    await using fixture = await makeRepository();
    const tree = git(fixture, ['mktree'], '').trim();
    const text = `tree ${tree}\nauthor A <a@example.org> 0 +051800\ncommitter A <a@example.org> 0 +0000\n\nx\n`;
    const commit = git(fixture, ['hash-object', '-w', '-t', 'commit', '--literally', '--stdin'], text).trim();
    const medium = await shipCommit(fixture, commit);
    const imported = await importInto(fixture, medium);
    assert.equal(imported.exitCode, 0, imported.stderr);
    assert.deepEqual(await shown(fixture), { folder: true, complete: [true] });
    const repository = path.join(fixture.folder, 'site/git', fixture.place);
    execFileSync('git', ['-c', 'fsck.badTimezone=warn', '--git-dir', repository, 'fsck', '--full'], {
      env: GIT_ENVIRONMENT,
      stdio: 'ignore',
    });
    const withGit = await filesOf(repository);
    await rm(path.join(fixture.folder, 'site'), { recursive: true });
    const main = path.join(repositoryRoot, 'src/cli/main.ts');
    const without = await importInto(fixture, medium, [process.execPath, main], { PATH: '/nonexistent' });
    assert.equal(without.exitCode, 0, without.stderr);
    assert.deepEqual(await filesOf(repository), withGit);
  });
});

/** Git in the bare repository that plays the origin. */
function git({ folder }: RepositoryFixture, args: readonly string[], input: string | Buffer): string {
  const place = ['--git-dir', path.join(folder, 'origin.git')];
  return execFileSync('git', [...place, ...args], { env: GIT_ENVIRONMENT, encoding: 'utf8', input });
}

/** Packs what collecting would refuse, as a sender would whose Nixferry does not look; resolves to where the shipment is. */
async function shipCommit(fixture: RepositoryFixture, commit: string, objects?: readonly string[]): Promise<string> {
  const { mirror, folder, url, place } = fixture;
  const refs = [{ id: commit, name: 'refs/heads/main' }];
  const pack = path.join(folder, 'evil.pack');
  const { signal } = new AbortController();
  if (objects === undefined) {
    await packObjects({ folder: path.join(folder, 'origin.git'), signal }, refs, [], pack);
  } else {
    const made = git(fixture, ['pack-objects', path.join(folder, 'some')], `${objects.join('\n')}\n`).trim();
    await run('mv', [path.join(folder, `some-${made}.pack`), pack]);
    await run('mv', [path.join(folder, `some-${made}.idx`), pack.replace(/pack$/, 'idx')]);
  }
  const tree = await treeOf({ head: 'refs/heads/main', refs }, [], pack);
  const bundle = await publishBundle(tree, { place, before: undefined, mirror, signal });
  const repository: RootRepository = { url, place, path: bundle };
  await showRepository(mirror, repository, { isChecked: true });
  const root = { name: 'origin', request: `git+${url}`, origin: 'collected', scope: 'run' } as const;
  await writeRoot(mirror, {
    ...root,
    format: 1,
    id: makeRootId(root),
    paths: [bundle],
    rootPaths: [bundle],
    complete: true,
    repositories: [repository],
  });
  await mirror.close();
  const medium = path.join(folder, 'medium');
  const to = ['--to', medium, '--site', 'lab', '--no-tools', '--mirror', path.join(folder, 'mirror')];
  await run(nixferryCommand, ['pack', ...to]);
  return medium;
}

async function importInto(
  { folder }: RepositoryFixture,
  medium: string,
  [command = nixferryCommand, ...args]: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<RunResult> {
  await using mirror = await openMirror(path.join(folder, 'mirror'), { access: 'read' });
  const trust = ['--trust', formatPublicKey(mirror.publicKey), '--mirror', path.join(folder, 'site')];
  const options = Object.keys(env).length === 0 ? {} : { env };
  return await run(command, [...args, 'import', medium, ...trust], { exitCode: 'any', ...options });
}

async function shown({ folder, place }: RepositoryFixture) {
  await using mirror = await openMirror(path.join(folder, 'site'), { access: 'read' });
  const roots = await readRoots(mirror);
  const repository = path.join(folder, 'site/git', place);
  return {
    folder: existsSync(path.join(repository, 'nixferry.json')),
    complete: roots.map(({ complete }) => complete),
  };
}

async function filesOf(repository: string): Promise<string[]> {
  return (await readdir(repository, { recursive: true })).toSorted();
}
