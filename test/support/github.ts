// A GitHub of the tests' own: repositories to which commits are pushed, and a server that machines in namespaces take for the real one.

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type FileTree, writeTree } from './file-tree.ts';
import type { GitHubOrders } from './github-program.ts';
import type { NixEnvironment } from './nix.ts';
import { type RunningProcess, run, toolEnvironment } from './run.ts';
import { makeAuthority } from './self-made-authority.ts';

const HOSTS = ['github.com', 'api.github.com', 'codeload.github.com'];
const PROGRAM = path.join(import.meta.dirname, 'github-program.ts');

export interface PlayedGitHub {
  /** Makes `tree` the contents of a branch of `OWNER/REPO`; resolves to the commit. */
  push(repository: string, tree: FileTree, options: { readonly branch: string; readonly day: number }): Promise<string>;
  /** Starts it where this environment's network is, with the internet that is named; what it is asked it prints. */
  startIn(nix: NixEnvironment, internet?: GitHubOrders['internet']): Promise<RunningProcess>;
  /** Lets a machine look for GitHub there, and trust it. */
  showTo(nix: NixEnvironment): Promise<void>;
}

export async function makeGitHub(directory: string): Promise<PlayedGitHub> {
  const repositories = path.join(directory, 'repositories');
  await mkdir(repositories, { recursive: true });
  const { certFile } = await makeAuthority({ join: (name = '') => path.join(directory, name) }, 'github', HOSTS);
  const keyFile = path.join(directory, 'github.key');
  // Each its own address: on the connected side all tests share one network.
  const address = `127.${1 + (process.pid & 0x7f)}.${(process.pid >> 7) & 0xff}.${1 + Math.floor(Math.random() * 250)}`;
  return {
    push: (repository, tree, { branch, day }) => commit(path.join(repositories, repository), tree, branch, day),
    startIn: async (nix, internet) => {
      const orders: GitHubOrders = { repositories, keyFile, certFile, address, internet };
      const program = nix.start(process.execPath, [PROGRAM, JSON.stringify(orders)]);
      await program.waitForOutput(/GitHub is there/);
      return program;
    },
    showTo: async (nix) => {
      const hosts = path.join(nix.directory, 'hosts');
      const authorities = path.join(nix.directory, 'authorities.crt');
      await writeFile(hosts, `127.0.0.1 localhost\n${address} ${HOSTS.join(' ')}\n`);
      await writeFile(authorities, await readFile(certFile));
      const lay = '[ -e "$1" ] || : > "$1"; mount --bind "$0" "$1"';
      await nix.run('/bin/sh', ['-euc', lay, hosts, '/etc/hosts']);
      await nix.run('/bin/sh', ['-euc', lay, authorities, '/etc/ssl/certs/ca-certificates.crt']);
    },
  };
}

/** The same commit wherever it is made. */
async function commit(place: string, tree: FileTree, branch: string, day: number): Promise<string> {
  const date = new Date(Date.UTC(2030, 0, day)).toISOString();
  const who = { NAME: 'Nobody', EMAIL: 'nobody@example.org', DATE: date };
  const env = toolEnvironment({
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_SYSTEM: '/dev/null',
    ...Object.fromEntries(
      ['AUTHOR', 'COMMITTER'].flatMap((role) =>
        Object.entries(who).map(([key, value]) => [`GIT_${role}_${key}`, value]),
      ),
    ),
  });
  const repository = `${place}.git`;
  const checkout = `${place}.checkout`;
  await mkdir(checkout, { recursive: true });
  const git = (...args: string[]) =>
    run('git', [`--git-dir=${repository}`, `--work-tree=${checkout}`, ...args], { env });
  await run('git', ['init', '--quiet', '--bare', `--initial-branch=${branch}`, repository], { env });
  await writeTree(checkout, tree);
  await git('add', '--all');
  await git('commit', '--quiet', '--message', `day ${day}`);
  await rm(checkout, { recursive: true });
  return (await run('git', ['-C', repository, 'rev-parse', branch], { env })).stdout.trim();
}
