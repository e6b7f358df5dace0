// A repository of git, and a mirror that collects it.
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ignoreProgress } from '../../src/base/progress.ts';
import { type CollectedRepositories, collectRepositories } from '../../src/collect/collect-repositories.ts';
import type { ResolvedRoot } from '../../src/collect/resolve-roots.ts';
import { type Mirror, openMirror } from '../../src/mirror/mirror.ts';
import { parseRepositoryAddress } from '../../src/mirror/repository-address.ts';
import type { RootRepository } from '../../src/mirror/roots.ts';

export interface RepositoryFixture extends AsyncDisposable {
  readonly folder: string;
  readonly mirror: Mirror;
  /** `file:///…/origin.git` */
  readonly url: string;
  readonly place: string;
  /** Git in the work tree of the origin. */
  git(...args: string[]): string;
  /** Makes a commit on the branch that is checked out, and publishes it. */
  commit(word: string): Promise<string>;
  collect(ref?: string): Promise<CollectedRepositories>;
  /** What the root came to; fails where it came to nothing. */
  collectOne(ref?: string): Promise<RootRepository>;
}

export const GIT_ENVIRONMENT = {
  PATH: process.env['PATH'] ?? '',
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'Anna',
  GIT_AUTHOR_EMAIL: 'anna@example.org',
  GIT_COMMITTER_NAME: 'Anna',
  GIT_COMMITTER_EMAIL: 'anna@example.org',
};

function run(...args: string[]): string {
  return execFileSync('git', args, { env: GIT_ENVIRONMENT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

export async function makeRepository(): Promise<RepositoryFixture> {
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-repository-'));
  const work = join(folder, 'work');
  run('init', '-q', '--bare', '-b', 'main', join(folder, 'origin.git'));
  run('init', '-q', '-b', 'main', work);
  const git = (...args: string[]) => run('-C', work, ...args).trim();
  git('remote', 'add', 'origin', join(folder, 'origin.git'));
  const mirror = await openMirror(join(folder, 'mirror'), { access: 'write', create: true });
  const url = `file://${folder}/origin.git`;
  const address = parseRepositoryAddress(url);
  if (address === undefined) throw new Error(`no address: ${url}`);
  const collect = (ref?: string) => {
    const wanted = { ...address, ...(ref === undefined ? {} : { ref }) };
    const root: ResolvedRoot = {
      request: `git+${url}`,
      name: 'origin',
      paths: [],
      fromDerivation: false,
      scope: 'run',
      targets: [],
      evaluationInputs: [],
      wantedRepositories: [wanted],
    };
    return collectRepositories([root], { mirror, onProgress: ignoreProgress, signal: new AbortController().signal });
  };
  return {
    folder,
    mirror,
    ...address,
    git,
    commit: async (word) => {
      await writeFile(join(work, 'word'), word);
      git('add', '.');
      git('commit', '-q', '-m', word);
      git('push', '-q', '--force', 'origin', 'HEAD');
      return git('rev-parse', 'HEAD');
    },
    collect,
    collectOne: async (ref) => {
      const { roots, problems } = await collect(ref);
      const [repository] = roots[0]?.repositories ?? [];
      if (repository === undefined) throw new Error(problems[0]?.detail);
      return repository;
    },
    [Symbol.asyncDispose]: async () => {
      await mirror.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
