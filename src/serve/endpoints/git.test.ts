import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { GIT_ENVIRONMENT, makeRepository, type RepositoryFixture } from '../../../test/support/git-repository.ts';
import { serveDirectory } from '../../../test/support/static-server.ts';
import { readMisses } from '../../mirror/misses.ts';
import { openApp } from '../mirror-fixture.test.ts';

const QUESTION = 'application/x-git-upload-pack-request';

test('git clones and fetches from a served repository, shallow ones and single commits too, with and without .git', async () => {
  await using served = await openServed();
  const { url, fixture } = served;
  const first = await fixture.commit('two');
  await fixture.commit('three');
  await fixture.collectOne();
  for (const address of [url, url.replace(/\.git$/, '')]) {
    const clone = join(fixture.folder, `clone-${address.length}`);
    await git('clone', '--quiet', address, clone);
    assert.equal(await readFile(join(clone, 'word'), 'utf8'), 'three');
    const shallow = `${clone}-shallow`;
    await git('clone', '--quiet', '--depth', '1', address, shallow);
    assert.equal((await git('-C', shallow, 'rev-list', '--count', 'HEAD')).trim(), '1');
    await git('-C', shallow, '-c', 'protocol.version=0', 'fetch', '--quiet', '--depth', '1', 'origin', first);
    assert.equal(await git('-C', shallow, 'show', `${first}:word`), 'two');
    await assert.rejects(git('-C', clone, 'push', '--quiet', 'origin', 'HEAD:evil'), /only read from/);
  }
  assert.doesNotMatch(await readFile(served.refsFile, 'utf8'), /evil/);
});

test('git clones file by file where no git answers: from serve without git, and from any web server', async () => {
  await using served = await openServed();
  const { fixture, url } = served;
  const searchPath = process.env['PATH'];
  await using anywhere = await serveDirectory(fixture.mirror.directory);
  const clone = join(fixture.folder, 'clone');
  await git('clone', '--quiet', `${anywhere.url}/git/${fixture.place}`, clone);
  assert.equal(await readFile(join(clone, 'word'), 'utf8'), 'one');
  process.env['PATH'] = '/nonexistent';
  try {
    await git('clone', '--quiet', url, `${clone}-2`);
  } finally {
    process.env['PATH'] = searchPath;
  }
  assert.equal(await readFile(join(`${clone}-2`, 'word'), 'utf8'), 'one');
});

test('what is no question of git to a repository that is here is refused, and changes nothing', async () => {
  await using served = await openServed();
  const { fixture, app } = served;
  const base = `/git/${fixture.place}`;
  const before = await listFiles(served);
  const get = async (url: string) => (await app.inject(url)).statusCode;
  const post = async (url: string, payload: string | Buffer, headers: Record<string, string> = {}) =>
    (await app.inject({ method: 'POST', url, payload, headers: { 'content-type': QUESTION, ...headers } })).statusCode;

  assert.equal(await get(`${base}/info/refs?service=git-receive-pack`), 403);
  assert.equal(await get(`${base}/info/refs?service=git-upload-archive`), 200, 'the file, as for any other service');
  for (const file of [
    'config',
    'nixferry.json',
    'objects/info/alternates',
    'git-upload-pack',
    'hooks/post-update',
    '',
  ]) {
    assert.equal(await get(`${base}/${file}`), 404, file);
  }
  const elsewhere = [
    '/git/../keys',
    '/git/%2e%2e/%2e%2e/etc.git',
    '/git/h/none.git',
    '/git/--upload-pack=x.git',
    '/git/h/..%2f..%2fx.git',
    '/git//etc/passwd',
  ];
  for (const place of elsewhere) assert.equal(await get(`${place}/info/refs?service=git-upload-pack`), 404, place);
  for (const place of elsewhere) assert.notEqual(await post(`${place}/git-upload-pack`, '0000'), 200, place);

  assert.equal(await post(`${base}/git-receive-pack`, '0000'), 405);
  assert.equal(await post(`${base}/info/refs`, '0000'), 405);
  assert.equal(await post(base, '0000'), 405);
  assert.equal(await post(`${base}/git-upload-pack`, '0000', { 'content-type': 'text/plain' }), 405);
  assert.equal(await post(`${base}/git-upload-pack`, 'no question'), 400);
  assert.equal(await post(`${base}/git-upload-pack`, ''), 400);
  assert.equal(await post(`${base}/git-upload-pack`, 'no gzip', { 'content-encoding': 'gzip' }), 400);
  assert.equal(await post(`${base}/git-upload-pack`, 'x', { 'content-encoding': 'br' }), 415);
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
  assert.equal(await post(`${base}/git-upload-pack`, bomb, { 'content-encoding': 'gzip' }), 400);
  assert.equal(await post(`${base}/git-upload-pack`, Buffer.alloc(9 * 1024 * 1024)), 413);
  const protocol = { 'git-protocol': 'version=2; --upload-pack=evil' };
  const odd = await app.inject({ url: `${base}/info/refs?service=git-upload-pack`, headers: protocol });
  assert.match(odd.body, /^001e# service=git-upload-pack\n0000/, 'as if nothing had been said');
  assert.equal((await app.inject({ method: 'PUT', url: `${base}/HEAD` })).statusCode, 405);
  assert.deepEqual(await listFiles(served), before);
});

test('a repository that is not here is a 404 at once, and noted', async () => {
  await using served = await openServed();
  const address = '/git/git.example.org/none/info/refs?service=git-upload-pack';
  assert.equal((await served.app.inject(address)).statusCode, 404);
  await served.app.close();
  const [miss] = readMisses(served.fixture.mirror.layout.missesFile);
  assert.deepEqual(miss, { kind: 'repository', name: 'git.example.org/none', count: 1 });
});

interface Served extends AsyncDisposable {
  readonly fixture: RepositoryFixture;
  readonly app: Awaited<ReturnType<typeof openApp>>;
  readonly url: string;
  readonly refsFile: string;
}

async function openServed(): Promise<Served> {
  const fixture = await makeRepository();
  await fixture.commit('one');
  await fixture.collectOne();
  const app = await openApp(fixture.mirror.directory);
  const address = await app.listen({ host: '127.0.0.1', port: 0 });
  return {
    fixture,
    app,
    url: `${address}/git/${fixture.place}`,
    refsFile: join(fixture.mirror.directory, 'git', fixture.place, 'info/refs'),
    [Symbol.asyncDispose]: async () => {
      await app.close();
      await fixture[Symbol.asyncDispose]();
    },
  };
}

async function git(...args: string[]): Promise<string> {
  return (await promisify(execFile)('git', args, { env: GIT_ENVIRONMENT })).stdout;
}

async function listFiles({ fixture }: Served): Promise<string[]> {
  return (await readdir(join(fixture.mirror.directory, 'git'), { recursive: true })).toSorted();
}
