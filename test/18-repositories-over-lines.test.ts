// Repositories of git by https with an authority of one's own and by ssh; and those that a want list asks for, of which only what is public is fetched.

import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { EXIT } from '../src/base/errors.ts';
import type { Miss } from '../src/mirror/misses.ts';
import { formatPublicKey, generateSecretKey, publicKeyOf } from '../src/nix/index.ts';
import { formatWantList } from '../src/shipment/want-list.ts';
import { listRepository } from '../src/upstream/git-repository.ts';
import { makeRepository, type RepositoryFixture } from './support/git-repository.ts';
import { answerGit } from './support/git-server.ts';
import { createNixEnvironment } from './support/nix.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { run, toolEnvironment } from './support/run.ts';
import { makeAuthority } from './support/self-made-authority.ts';
import { startUnreliableServer } from './support/unreliable-server.ts';

/** Makes a commit, and shows the origin below `git/`. */
async function publishedAt(fixture: RepositoryFixture, directory: string, name: string): Promise<string> {
  const commit = await fixture.commit(name);
  await mkdir(path.join(directory, 'git'), { recursive: true });
  await run('cp', ['-a', path.join(fixture.folder, 'origin.git'), path.join(directory, 'git', `${name}.git`)]);
  return commit;
}

function refsOf(mirror: string, place: string): Promise<string> {
  return readFile(path.join(mirror, 'git', place, 'info/refs'), 'utf8');
}

test('by https: the authority that --ca-file names counts for git, too, and without it the repository cannot be had', async () => {
  await using fixture = await makeRepository();
  const inside = (...names: string[]) => path.join(fixture.folder, ...names);
  const commit = await publishedAt(fixture, inside('web'), 'lib');
  const authority = await makeAuthority({ join: inside });
  await using server = await startUnreliableServer({
    directory: inside('web'),
    answerItself: answerGit,
    tls: authority,
  });
  const mirror = inside('collected');
  const args = ['collect', `git+${server.url}/git/lib.git`, '--mirror', mirror];
  const refused = await run(nixferryCommand, args, { exitCode: EXIT.upstreamIncomplete });
  assert.match(refused.stderr, /certificate/);
  await run(nixferryCommand, [...args, '--ca-file', authority.certFile]);
  assert.match(
    await refsOf(mirror, `127.0.0.1:${server.port}/git/lib.git`),
    new RegExp(`^${commit}\\trefs/heads/main$`, 'm'),
  );
});

test('by ssh: as the user has it set up', async () => {
  await using fixture = await makeRepository();
  const commit = await fixture.commit('one');
  // What ssh is told: the host, and what to run there.
  const ssh = path.join(fixture.folder, 'ssh');
  const log = path.join(fixture.folder, 'ssh.log');
  await writeFile(
    ssh,
    `#!/bin/sh\necho "$@" >> ${log}\nfor last; do :; done\neval "set -- $last"\nexec git upload-pack ${path.join(fixture.folder, 'origin.git')}\n`,
    { mode: 0o755 },
  );
  const env = toolEnvironment({ GIT_SSH_COMMAND: ssh, GIT_SSH_VARIANT: 'simple' });
  const mirror = path.join(fixture.folder, 'collected');
  const collect = (root: string) => run(nixferryCommand, ['collect', root, '--mirror', mirror], { env });
  await collect('git+ssh://git@git.example.org/team/lib.git');
  assert.match(await refsOf(mirror, 'git.example.org/team/lib.git'), new RegExp(`^${commit}\\trefs/heads/main$`, 'm'));
  assert.match(await readFile(log, 'utf8'), /^git@git\.example\.org git-upload-pack '\/team\/lib\.git'$/m);
});

test('anonymously: neither credentials nor redirects nor settings of the user reach the host', async () => {
  await using fixture = await makeRepository();
  const inside = (...names: string[]) => path.join(fixture.folder, ...names);
  await publishedAt(fixture, inside('web'), 'lib');
  const authority = await makeAuthority({ join: inside });
  const common = { directory: inside('web'), answerItself: answerGit, tls: authority };
  await using locked = await startUnreliableServer({ ...common, basicAuth: { user: 'anna', password: 'secret' } });
  await using open = await startUnreliableServer(common);
  await mkdir(inside('home'));
  await writeFile(inside('home/.netrc'), 'machine 127.0.0.1 login anna password secret\n', { mode: 0o600 });
  const home = process.env['HOME'];
  process.env['HOME'] = inside('home');
  try {
    const { signal } = new AbortController();
    const ask = (url: string, isAnonymous: boolean) =>
      listRepository({ url, isAnonymous, certificates: authority.certFile, signal });
    assert.equal((await ask(`${locked.url}/git/lib.git`, false)).refs.length, 1);
    await assert.rejects(ask(`${locked.url}/git/lib.git`, true), { code: 'upstream-unreachable' });
    assert.ok(locked.requests.slice(-1).every(({ headers }) => headers.authorization === undefined));

    assert.equal((await ask(`${open.url}/git/lib.git`, true)).refs.length, 1);
    const location = `${open.url}/git/lib.git/info/refs?service=git-upload-pack`;
    open.misbehave({ path: /^\/git\/moved/, fault: { kind: 'redirect', location } });
    assert.equal((await ask(`${open.url}/git/moved.git`, false)).refs.length, 1);
    await assert.rejects(ask(`${open.url}/git/moved.git`, true), { code: 'upstream-unreachable' });
    await assert.rejects(ask(`file://${inside('origin.git')}`, true), { code: 'upstream-unreachable' });
  } finally {
    if (home === undefined) delete process.env['HOME'];
    else process.env['HOME'] = home;
  }
});

test('collect --want makes roots of public repositories that clients missed, and names all others without asking for them', async () => {
  await using fixture = await makeRepository();
  const inside = (...names: string[]) => path.join(fixture.folder, ...names);
  const commit = await publishedAt(fixture, inside('web'), 'lib');
  const authority = await makeAuthority({ join: inside }, 'authority', ['git.example.org', 'intranet.example.org']);
  await using world = await createNixEnvironment({ network: 'none', shared: [fixture.folder] });
  // Two hosts: one at an address of the internet, one at an address of this network.
  const hosts = '127.0.0.1 localhost\n198.51.100.7 git.example.org\n10.9.8.7 intranet.example.org\n';
  await writeFile(inside('hosts'), hosts);
  await world.run('mount', ['--bind', inside('hosts'), '/etc/hosts']);
  for (const address of ['198.51.100.7/32', '10.9.8.7/32'])
    await world.run('ip', ['address', 'add', address, 'dev', 'lo']);
  const program = path.join(import.meta.dirname, 'support/git-host.ts');
  const server = world.start(process.execPath, [
    program,
    inside('web'),
    '0.0.0.0',
    inside('authority.key'),
    authority.certFile,
  ]);
  await server.waitForOutput(/listening/);
  await mkdir(inside('cache'));
  await writeFile(inside('cache/nix-cache-info'), 'StoreDir: /nix/store\n');

  const own = path.join(fixture.folder, 'origin').slice(1);
  const names = [
    'git.example.org/git/lib',
    'intranet.example.org/git/lib',
    `localhost/${own}`,
    'git.example.org/git/none',
  ];
  const misses = names.map((name): Miss => ({ kind: 'repository', name, count: 2 }));
  const key = generateSecretKey('lab-1');
  const list = inside('want');
  const contents = { site: 'lab', storeDir: '/nix/store', misses, targets: [], derivations: [] };
  await writeFile(list, await formatWantList(contents, key));
  const trust = ['--trust', formatPublicKey(publicKeyOf(key)), '--ca-file', authority.certFile];
  const to = ['--mirror', inside('collected'), '--upstream', `file://${inside('cache')}`];
  const { stdout } = await world.run(nixferryCommand, ['collect', '--want', list, ...trust, ...to]);
  assert.match(stdout, /^ {2}the repository git\.example\.org\/git\/lib is fetched$/m);
  for (const name of names.slice(1)) {
    assert.match(stdout, new RegExp(`the repository ${name} \\(asked for 2 times\\): it is not what anybody can have`));
  }
  assert.match(
    await refsOf(inside('collected'), 'git.example.org/git/lib.git'),
    new RegExp(`^${commit}\\trefs/heads/main$`, 'm'),
  );
  const { stdout: status } = await world.run(nixferryCommand, ['status', '--mirror', inside('collected')]);
  assert.match(status, /git\.example\.org\/git\/lib/);
  const { stdout: requests } = await server.stop();
  assert.match(requests, /^GET \/git\/lib\.git\/info\/refs\?service=git-upload-pack anonymous$/m);
  assert.doesNotMatch(requests, /Basic/);
});
