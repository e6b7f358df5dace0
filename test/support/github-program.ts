// The program that plays GitHub, and with it the rest of the tests' internet, in a network namespace of somebody else's: `node github-program.ts ORDERS`.
// Of GitHub it knows what Nix asks: which commit a branch is at, and the archive of a commit, made by git as GitHub makes it.

import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import path from 'node:path';
import { promisify } from 'node:util';
import { answerGit } from './git-server.ts';
import { toolEnvironment } from './run.ts';
import { serveDirectory } from './static-server.ts';

export interface GitHubOrders {
  /** Holds `OWNER/REPO.git`. */
  readonly repositories: string;
  readonly keyFile: string;
  readonly certFile: string;
  /** Of 127.0.0.0/8, where port 443 is free. */
  readonly address: string;
  /** The folder and port of the tests' internet, where that is to be seen as well. */
  readonly internet: { readonly directory: string; readonly port: number } | undefined;
}

const runFile = promisify(execFile);
const ARCHIVE_BYTES = 64 * 1024 * 1024;

async function play({ repositories, keyFile, certFile, address, internet }: GitHubOrders): Promise<void> {
  const git = async (repository: string, ...args: string[]): Promise<Buffer> => {
    const options = { env: toolEnvironment(), encoding: 'buffer', maxBuffer: ARCHIVE_BYTES } as const;
    return (await runFile('git', ['-C', path.join(repositories, `${repository}.git`), ...args], options)).stdout;
  };
  const answer = async ({ url = '', headers }: IncomingMessage, response: ServerResponse): Promise<void> => {
    process.stdout.write(`asked ${headers.host}${url}\n`);
    const [, repository = '', wanted = '', revision = ''] =
      /^\/(?:repos\/)?([\w-]+\/[\w-]+)\/(commits|archive|tarball)\/([\w.-]+?)(?:\.tar\.gz)?$/.exec(url) ?? [];
    try {
      if (wanted === '') throw new Error('unknown address');
      if (wanted === 'commits') {
        const told = (await git(repository, 'show', '--no-patch', '--format=%H %T %cI', revision)).toString().trim();
        const [sha, tree, date] = told.split(' ');
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ sha, commit: { tree: { sha: tree }, committer: { date } } }));
        return;
      }
      const top = `${path.basename(repository)}-${revision}/`;
      const bytes = await git(repository, 'archive', '--format=tar.gz', `--prefix=${top}`, revision);
      response.writeHead(200, { 'content-type': 'application/x-gzip', 'content-length': bytes.length }).end(bytes);
    } catch {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"message":"Not Found"}');
    }
  };
  const server = createServer({ key: await readFile(keyFile), cert: await readFile(certFile) }, answer);
  await new Promise<void>((resolve) => server.listen(443, address, resolve));
  if (internet !== undefined) await serveDirectory(internet.directory, answerGit, internet.port);
  process.stdout.write('GitHub is there\n');
}

await play(JSON.parse(process.argv[2] ?? '{}') as GitHubOrders);
