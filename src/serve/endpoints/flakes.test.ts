import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { openMirror } from '../../mirror/mirror.ts';
import { composeNar } from '../../mirror/nar-compose.ts';
import { withIntakenNar } from '../../mirror/nar-intake.ts';
import { publish } from '../../mirror/publish.ts';
import { type RootEvaluationInput, writeRoot } from '../../mirror/roots.ts';
import {
  baseNameOf,
  formatContentAddress,
  formatHash,
  type Hash,
  hashFromDigest,
  makeSourcePath,
  type NarNode,
  type StorePathBaseName,
  writeNar,
} from '../../nix/index.ts';
import { SpooledTree } from '../../sources/spooled-tree.ts';
import { unpackTar } from '../../sources/unpack-tar.ts';
import { openApp } from '../mirror-fixture.test.ts';
import { checkPublicUrl } from '../public-url.ts';

const REV = 'a'.repeat(40);
const HOST = { headers: { host: 'ferry:8080' } };

test('a flake input is a tarball that unpacks to the very tree, and says where it stays', async () => {
  await using place = await makePlace();
  const { path, narHash } = await place.add(richTree('one'));
  await place.record([input('nixpkgs', path, { rev: REV, lastModified: 1_700_000_000 })]);
  await using app = await openApp(place.directory);
  const answer = await app.inject({ url: '/flakes/nixpkgs.tar.gz', ...HOST });
  assert.equal(answer.statusCode, 200);
  const sri = encodeURIComponent(formatHash(narHash, 'sri'));
  const immutable = `/sources/1700000000/${path.slice(0, 32)}.tar.gz`;
  assert.equal(answer.headers['link'], `<http://ferry:8080${immutable}?narHash=${sri}&rev=${REV}>; rel="immutable"`);
  const tar = gunzipSync(answer.rawPayload);
  assert.equal(await place.narHashOfTar(tar), narHash);
  assert.equal(
    (await app.inject({ url: `${immutable}?narHash=${sri}`, ...HOST })).rawPayload.equals(answer.rawPayload),
    true,
  );

  const listed = execFileSync('tar', ['--utc', '--full-time', '-tvf', '-'], { input: tar })
    .toString()
    .trim()
    .split('\n');
  for (const line of listed) assert.match(line, / 2023-11-14 22:13:20 source\//);
  assert.match(listed.join('\n'), /^-rwxr-xr-x .* source\/bin\/run$/m);
  assert.match(listed.join('\n'), /^lrwxrwxrwx .* source\/link -> bin\/run$/m);
});

test('a flake input is not sent again to who has it, and HEAD tells the same without a body', async () => {
  await using place = await makePlace();
  const { path } = await place.add(richTree('one'));
  await place.record([input('nixpkgs', path, { lastModified: 5 })]);
  await using app = await openApp(place.directory);
  const head = await app.inject({ method: 'HEAD', url: '/flakes/nixpkgs.tar.gz', ...HOST });
  assert.equal(head.body, '');
  const etag = head.headers.etag ?? '';
  const again = await app.inject({
    url: '/flakes/nixpkgs.tar.gz',
    headers: { ...HOST.headers, 'if-none-match': etag },
  });
  assert.equal(again.statusCode, 304);
  assert.ok(again.headers['link']?.includes('/sources/5/'));
});

test('the registry and a name mean the newest revision, whichever came last, and a branch its own', async () => {
  await using place = await makePlace();
  const old = await place.add(richTree('old'));
  const young = await place.add(richTree('young'));
  const branch = { type: 'indirect', id: 'nixpkgs', ref: 'nixos-99.11' };
  await place.record([input('nixpkgs', young.path, { lastModified: 20 })], 'a');
  await place.record(
    [{ ...input('hardware/nixpkgs', old.path, { lastModified: 10, dir: 'sub' }), original: branch }],
    'b',
  );
  await using app = await openApp(place.directory);
  const linkOf = async (name: string) => (await app.inject({ url: `/flakes/${name}.tar.gz`, ...HOST })).headers['link'];
  assert.ok(String(await linkOf('nixpkgs')).includes(young.path.slice(0, 32)));
  assert.ok(String(await linkOf('nixpkgs/nixos-99.11')).includes(old.path.slice(0, 32)));
  const registry = await app.inject({ url: '/flake-registry.json', ...HOST });
  const from = { type: 'indirect', id: 'nixpkgs' };
  const url = 'http://ferry:8080/flakes/nixpkgs';
  assert.deepEqual(registry.json(), {
    version: 2,
    flakes: [
      {
        from: { ...from, ref: 'nixos-99.11' },
        to: { type: 'tarball', url: `${url}/nixos-99.11.tar.gz`, dir: 'sub' },
        exact: true,
      },
      { from, to: { type: 'tarball', url: `${url}.tar.gz` }, exact: true },
    ],
  });
});

test('addresses that clients keep begin as the server is told that it is reached', async () => {
  await using place = await makePlace();
  const { path } = await place.add(richTree('one'));
  await place.record([input('nixpkgs', path, { lastModified: 5 })]);
  const publicUrl = checkPublicUrl('https://ferry.lan/nix/');
  await using app = await openApp(place.directory, { publicUrl });
  const { headers } = await app.inject({ url: '/flakes/nixpkgs.tar.gz', ...HOST });
  assert.ok(String(headers['link']).startsWith('<https://ferry.lan/nix/sources/5/'));
  const { flakes } = (await app.inject({ url: '/flake-registry.json', ...HOST })).json() as { flakes: unknown[] };
  assert.ok(JSON.stringify(flakes).includes('"https://ferry.lan/nix/flakes/nixpkgs.tar.gz"'));
  for (const text of ['ferry.lan', 'ftp://ferry', 'https://a:b@ferry', 'https://ferry/?x', 'https://ferry/">']) {
    assert.throws(() => checkPublicUrl(text), { code: 'usage' }, text);
  }
});

test('sources are 404 for what is no source, and 400 for what is no address of one', async () => {
  await using place = await makePlace();
  const { path } = await place.add(richTree('one'), false);
  await place.record([input('nixpkgs', path, {})]);
  await using app = await openApp(place.directory);
  for (const url of [`/sources/1/${path.slice(0, 32)}.tar.gz`, '/flakes/other.tar.gz', '/flakes/nixpkgs.tar.gz']) {
    assert.equal((await app.inject({ url, ...HOST })).statusCode, 404, url);
  }
  for (const url of ['/sources/x/y.tar.gz', '/flakes/nixpkgs', `/sources/99999999999/${path.slice(0, 32)}.tar.gz`]) {
    assert.equal((await app.inject({ url, ...HOST })).statusCode, 400, url);
  }
  assert.equal((await app.inject({ url: '/flake-registry.json', headers: { host: 'a"b' } })).statusCode, 400);
});

test('a source is packed once, and then sent as the file that it is, in parts too', async () => {
  await using place = await makePlace();
  const { path } = await place.add(richTree('one'));
  await place.record([input('nixpkgs', path, { lastModified: 5 })]);
  await using app = await openApp(place.directory);
  const request = { url: '/flakes/nixpkgs.tar.gz', ...HOST };
  const before = await app.inject({ method: 'HEAD', ...request });
  assert.equal(before.headers['content-length'], undefined, 'nobody has packed it yet');
  const answers = await Promise.all([app.inject(request), app.inject(request), app.inject(request)]);
  const [{ rawPayload: whole } = assert.fail()] = answers;
  for (const answer of answers) assert.ok(answer.rawPayload.equals(whole));
  const folder = join(place.directory, '.nixferry/tarballs');
  const [name = '', ...others] = await readdir(folder);
  assert.deepEqual(others, []);
  assert.ok((await readFile(join(folder, name))).equals(whole));

  const head = await app.inject({ method: 'HEAD', ...request });
  assert.equal(head.headers['content-length'], String(whole.length));
  assert.equal(head.headers.etag, answers[0]?.headers.etag);
  const part = await app.inject({ ...request, headers: { ...HOST.headers, range: 'bytes=10-' } });
  assert.equal(part.statusCode, 206);
  assert.ok(part.rawPayload.equals(whole.subarray(10)));
});

test('a source is sent all the same where no tarball can be kept', async () => {
  await using place = await makePlace();
  const { path } = await place.add(richTree('one'));
  await place.record([input('nixpkgs', path, { lastModified: 5 })]);
  await writeFile(join(place.directory, '.nixferry/tarballs'), 'in the way');
  const log: string[] = [];
  await using app = await openApp(place.directory, { log });
  for (const _ of [1, 2]) {
    const answer = await app.inject({ url: '/flakes/nixpkgs.tar.gz', ...HOST });
    assert.equal(answer.statusCode, 200);
    assert.match(gunzipSync(answer.rawPayload).toString('latin1'), /echo one/);
  }
  assert.equal(log.filter((line) => line.includes('cannot be kept')).length, 1);
});

test('what nix-channel has unpacked is sent as the folder that it is in, and stays so at an address of its own', async () => {
  await using place = await makePlace();
  const expressions = await place.add(channelTree(''));
  const { path } = await place.add(channelTree('nixos/'), false);
  await place.record([{ kind: 'channel', name: 'nixpkgs', path }]);
  await using app = await openApp(place.directory);
  const answer = await app.inject({ url: '/flakes/nixpkgs.tar.gz', ...HOST });
  assert.equal(answer.statusCode, 200);
  assert.equal(await place.narHashOfTar(gunzipSync(answer.rawPayload)), expressions.narHash);
  const sri = encodeURIComponent(formatHash(expressions.narHash, 'sri'));
  const address = `/sources/1/${path.slice(0, 32)}/nixos.tar.gz`;
  assert.equal(answer.headers['link'], `<http://ferry:8080${address}?narHash=${sri}>; rel="immutable"`);
  assert.ok((await app.inject({ url: address, ...HOST })).rawPayload.equals(answer.rawPayload));
  for (const other of ['other', 'lib']) {
    const url = `/sources/1/${path.slice(0, 32)}/${other}.tar.gz`;
    assert.equal((await app.inject({ url, ...HOST })).statusCode, 404);
  }
  assert.equal((await app.inject({ url: `/sources/1/${path.slice(0, 32)}/a%2fb.tar.gz`, ...HOST })).statusCode, 400);
});

test('a tree of the search path that is no channel is sent whole, and a file is not there', async () => {
  await using place = await makePlace();
  const tree = await place.add(channelTree(''), false);
  const two = await place.add(async (spooled) => {
    await channelTree('nixos/')(spooled);
    await channelTree('other/')(spooled);
  }, false);
  await place.record([
    { kind: 'channel', name: 'nixpkgs', path: tree.path },
    { kind: 'channel', name: 'two', path: two.path },
  ]);
  await using app = await openApp(place.directory);
  for (const [name, { narHash }] of Object.entries({ nixpkgs: tree, two })) {
    const answer = await app.inject({ url: `/flakes/${name}.tar.gz`, ...HOST });
    assert.equal(await place.narHashOfTar(gunzipSync(answer.rawPayload)), narHash);
    assert.equal(answer.headers['link'], undefined, 'nothing proves what a path holds that is not named by it');
  }
});

function channelTree(folder: string) {
  return async (tree: SpooledTree) => {
    for (const name of ['default.nix', 'lib/default.nix']) {
      await tree.addFile(Buffer.from(folder + name), false, Readable.from([Buffer.from(`# ${name}\n`)]));
    }
  };
}

function input(name: string, path: StorePathBaseName, locked: Record<string, string | number>): RootEvaluationInput {
  return { kind: 'flake', name, path, locked: { type: 'github', ...locked } };
}

function richTree(word: string) {
  const text = async function* () {
    yield Buffer.from(`echo ${word}\n`);
  };
  return async (tree: SpooledTree) => {
    await tree.addFile(Buffer.from('bin/run'), true, text());
    await tree.addFile(
      Buffer.from(`${'long/'.repeat(30)}${'n'.repeat(120)}`.replaceAll('long/long/', 'l/')),
      false,
      text(),
    );
    tree.addSymlink(Buffer.from('link'), Buffer.from('bin/run'));
    tree.addSymlink(Buffer.from('far'), Buffer.from('x'.repeat(300)));
  };
}

async function makePlace() {
  const directory = await mkdtemp(join(tmpdir(), 'nixferry-flakes-'));
  const mirror = await openMirror(directory, { access: 'write', create: true });
  let trees = 0;
  const open = () => SpooledTree.open(join(mirror.layout.tempFolder, `tree-${++trees}`));
  return {
    directory,
    add: async (fill: (tree: SpooledTree) => Promise<void>, isAddressed = true) => {
      await using tree = await open();
      await fill(tree);
      const nar = await composeNar({ mirror, nar: writeNar(tree.whole()) });
      const storePath = makeSourcePath('source', nar.narHash, mirror.storeDir);
      const address = isAddressed ? { contentAddress: formatContentAddress({ method: 'nar', hash: nar.narHash }) } : {};
      const info = withIntakenNar({ ...nar, storePath, references: [], signatures: [], ...address }, nar);
      await publish(mirror, [{ info, narFile: nar.file }]);
      return { path: baseNameOf(storePath), narHash: nar.narHash };
    },
    record: (evaluationInputs: readonly RootEvaluationInput[], id = 'web01') =>
      writeRoot(mirror, {
        format: 1,
        id,
        name: id,
        request: id,
        scope: 'reconfigure',
        rootPaths: [],
        paths: evaluationInputs.map(({ path }) => path),
        complete: true,
        origin: 'imported',
        evaluationInputs,
      }),
    /** Of the one folder in it. */
    narHashOfTar: async (tar: Buffer): Promise<Hash> => {
      await using tree = await open();
      await unpackTar(Readable.from([tar]), tree);
      return await narHashOf(tree.inner());
    },
    [Symbol.asyncDispose]: async () => {
      await mirror.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function narHashOf(node: NarNode | undefined): Promise<Hash> {
  assert.ok(node !== undefined);
  const hash = createHash('sha256');
  for await (const chunk of writeNar(node)) hash.update(chunk);
  return hashFromDigest('sha256', hash.digest());
}
