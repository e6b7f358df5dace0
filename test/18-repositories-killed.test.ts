// An import that brings a repository of git, killed without warning again and again: what is shown is whole each time, and the same command finishes.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { openMirror } from '../src/mirror/mirror.ts';
import { makeRootId, readRoots, writeRoot } from '../src/mirror/roots.ts';
import { formatPublicKey } from '../src/nix/index.ts';
import { GIT_ENVIRONMENT, makeRepository, type RepositoryFixture } from './support/git-repository.ts';
import { killAtRandom } from './support/kill-at-random.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { makeRandom } from './support/random.ts';
import { run } from './support/run.ts';

/** NIXFERRY_KILLS asks for more. */
const KILLS = Number(process.env['NIXFERRY_KILLS'] ?? 15);

test(`import is killed ${KILLS} times while it unpacks a repository: nothing half is ever shown`, async (context) => {
  await using fixture = await makeRepository();
  const { folder, place } = fixture;
  const { medium, trust } = await shipTwoBundles(fixture);
  const site = path.join(folder, 'site');
  const repository = path.join(site, 'git', place);
  let halfWay = 0;
  const isWhole = async (): Promise<boolean> => {
    const isShown = existsSync(path.join(repository, 'nixferry.json'));
    if (!isShown && existsSync(repository)) halfWay += 1;
    // Whoever sees a branch finds all that it leads to.
    for (const name of ['packed-refs', 'info/refs']) {
      const refs = await readFile(path.join(repository, name), 'utf8').catch(() => '');
      for (const [id] of refs.matchAll(/^[0-9a-f]{40}/gm)) git(repository, 'rev-list', '--objects', '--quiet', id);
    }
    if (isShown) git(repository, 'fsck', '--full', '--strict');
    return isShown && (await isComplete(site));
  };
  const report = await killAtRandom({
    kills: KILLS,
    random: makeRandom(20_261_129),
    begin: async () => {
      await rm(site, { recursive: true, force: true });
      return { args: ['import', medium, '--trust', trust, '--mirror', site], check: isWhole };
    },
    finished: async () => {
      // A kill in the very last moment leaves the end to the next run.
      await run(nixferryCommand, ['import', medium, '--trust', trust, '--mirror', site]);
      assert.ok(await isWhole());
      assert.equal(git(repository, 'rev-parse', 'main').trim(), fixture.git('rev-parse', 'HEAD'));
      assert.deepEqual(await readdir(path.join(site, '.nixferry/tmp')), []);
      assert.equal((await readdir(path.join(repository, 'objects/pack'))).length, 4);
    },
  });
  context.diagnostic(`${report.kills} kills in ${report.rounds} rounds, ${halfWay} of them before it was shown`);
});

/** One that builds on the other, in one shipment. */
async function shipTwoBundles(fixture: RepositoryFixture): Promise<{ medium: string; trust: string }> {
  const { mirror, folder, url } = fixture;
  for (const [index, name] of ['first', 'second'].entries()) {
    for (let file = 0; file < 20; file++) {
      await writeFile(path.join(folder, 'work', `${name}-${file}`), randomBytes(100_000));
    }
    await fixture.commit(`${index}`);
    await fixture.collectOne();
  }
  const repository = await fixture.collectOne();
  const identity = { name: 'origin', request: `git+${url}`, scope: 'run', origin: 'collected' } as const;
  const paths = (await readdir(mirror.directory)).filter((name) => name.endsWith('.narinfo'));
  assert.equal(paths.length, 2);
  const infos = await Promise.all(paths.map((name) => readFile(path.join(mirror.directory, name), 'utf8')));
  const bundles = infos.map(
    (text) => path.basename(/^StorePath: (.*)$/m.exec(text)?.[1] ?? '') as typeof repository.path,
  );
  await writeRoot(mirror, {
    ...identity,
    format: 1,
    id: makeRootId(identity),
    rootPaths: [repository.path],
    paths: bundles.toSorted(),
    complete: true,
    repositories: [repository],
  });
  const trust = formatPublicKey(mirror.publicKey);
  await mirror.close();
  const medium = path.join(folder, 'medium');
  const to = ['--to', medium, '--site', 'lab', '--no-tools', '--mirror', path.join(folder, 'mirror')];
  await run(nixferryCommand, ['pack', ...to]);
  return { medium, trust };
}

function git(repository: string, ...args: readonly string[]): string {
  const options = { env: GIT_ENVIRONMENT, encoding: 'utf8', stdio: 'pipe' } as const;
  return execFileSync('git', ['--git-dir', repository, ...args], options);
}

async function isComplete(site: string): Promise<boolean> {
  await using mirror = await openMirror(site, { access: 'read' });
  return (await readRoots(mirror)).some(({ complete }) => complete);
}
