import assert from 'node:assert/strict';
import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import pino from 'pino';
import { makeStoreDatabase, type StoreRow } from '../../test/support/store-database.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { narNodeFromFileSystem } from '../evaluate/file-tree.ts';
import { rotateMirrorKey } from '../mirror/key-rotation.ts';
import { generateMirrorKey } from '../mirror/keys.ts';
import { hashBytes } from '../nix/hash.ts';
import { writeNar } from '../nix/nar-writer.ts';
import { parseNarInfo } from '../nix/narinfo.ts';
import { generateSecretKey, publicKeyOf, signText, trustedSignature } from '../nix/signature.ts';
import { hashPartOf, type StorePath } from '../nix/store-path.ts';
import { narInfoOfAnswer } from './express/express-answer.ts';
import { WrongBytes } from './held-back.ts';
import { limitLog } from './limited-log.ts';
import { LOCAL_NAR_PREFIX, LocalStore } from './local-store.ts';
import { makeMirror, openApp } from './mirror-fixture.test.ts';

interface Setup {
  readonly mirror: Awaited<ReturnType<typeof makeMirror>>;
  readonly root: string;
  /** Puts a file into the store, registered as what it is. */
  add(row: StoreRow, contents: string): Promise<StorePath>;
  /** The same for a folder of files. */
  addTree(name: string, files: Readonly<Record<string, string>>): Promise<StorePath>;
  remove(storePath: StorePath): void;
}

async function withStore(use: (setup: Setup) => Promise<void>): Promise<void> {
  await using temp = await makeTempDir('local-store');
  await using mirror = await makeMirror();
  await generateMirrorKey(mirror, 'ferry-1');
  using store = makeStoreDatabase(temp.path);
  await mkdir(temp.join('nix/store'));
  const register = async (row: StoreRow): Promise<StorePath> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of writeNar(await narNodeFromFileSystem(temp.join('scratch')))) chunks.push(chunk);
    const nar = Buffer.concat(chunks);
    const storePath = store.add({ hash: hashBytes('sha256', nar), narSize: nar.length, ...row });
    await rename(temp.join('scratch'), join(temp.path, storePath));
    return storePath;
  };
  const add = async (row: StoreRow, contents: string): Promise<StorePath> => {
    await writeFile(temp.join('scratch'), contents);
    return register(row);
  };
  const addTree = async (name: string, files: Readonly<Record<string, string>>): Promise<StorePath> => {
    await mkdir(temp.join('scratch'));
    for (const [file, contents] of Object.entries(files)) await writeFile(temp.join('scratch', file), contents);
    return register({ name });
  };
  await use({ mirror, root: temp.path, add, addTree, remove: (storePath) => store.remove(storePath) });
}

const narInfoUrl = (storePath: StorePath): string => `/${hashPartOf(storePath)}.narinfo`;

test('serve offers a path of the local store with its own signatures and ours, and its NAR by Range', () =>
  withStore(async ({ mirror, root, add }) => {
    const sig = signText(generateSecretKey('upstream-1'), 'x');
    const path = await add({ name: 'hello', sigs: `${sig} malformed` }, 'hello, world\n'.repeat(1000));
    await using app = await openApp(mirror.directory, { localStore: root });
    const { body, statusCode } = await app.inject(narInfoUrl(path));
    assert.equal(statusCode, 200);
    const info = parseNarInfo(body, '/nix/store');
    assert.equal(info.compression, 'none');
    assert.deepEqual(
      info.signatures.map((text) => text.split(':')[0]),
      ['ferry-1', 'upstream-1'],
    );
    const url = `/${info.url}`;
    const whole = await app.inject(url);
    assert.equal(whole.headers['content-length'], String(info.narSizeBytes));
    assert.equal(hashBytes('sha256', whole.rawPayload), info.narHash);
    const part = await app.inject({ url, headers: { range: 'bytes=5-' } });
    assert.equal(part.statusCode, 206);
    assert.deepEqual(part.rawPayload, whole.rawPayload.subarray(5));
    assert.equal((await app.inject({ url, headers: { range: 'bytes=999999-' } })).statusCode, 416);
    assert.equal(
      (await app.inject({ url, headers: { 'if-none-match': String(whole.headers['etag']) } })).statusCode,
      304,
    );
    const head = await app.inject({ method: 'HEAD', url });
    assert.deepEqual([head.statusCode, head.body, head.headers['accept-ranges']], [200, '', 'bytes']);
    const listing = await app.inject(`/${hashPartOf(path)}.ls`);
    assert.equal(listing.json().root.size, 13_000);
  }));

test('serve prefers the mirror, and without --local-store has nothing else', () =>
  withStore(async ({ mirror, root, add }) => {
    const held = await mirror.addPath('held');
    const path = await add({ name: 'local' }, 'x');
    {
      await using app = await openApp(mirror.directory);
      assert.equal((await app.inject(narInfoUrl(path))).statusCode, 404);
      assert.equal((await app.inject(`/local/${hashPartOf(path)}-${'0'.repeat(52)}.nar`)).statusCode, 404);
    }
    await using app = await openApp(mirror.directory, { localStore: root });
    assert.equal((await app.inject(`/${held.hashPart}.narinfo`)).body, held.text);
    assert.equal((await app.inject(narInfoUrl(path))).statusCode, 200);
  }));

test('serve gives nothing of a damaged path of the local store, and has it no longer', () =>
  withStore(async ({ mirror, root, add }) => {
    const path = await add({ name: 'bad' }, 'what was built');
    await using app = await openApp(mirror.directory, { localStore: root });
    const url = `/${parseNarInfo((await app.inject(narInfoUrl(path))).body, '/nix/store').url}`;
    await writeFile(join(root, path), 'what was bui1t');
    const first = await app.inject(url);
    assert.deepEqual([first.statusCode, first.headers['content-length']], [404, '9']);
    assert.equal((await app.inject(url)).statusCode, 404);
    assert.equal((await app.inject(narInfoUrl(path))).statusCode, 404);
  }));

test('serve has a path of the local store no longer than it is valid and readable', () =>
  withStore(async ({ mirror, root, add, remove }) => {
    const [gone, removed, odd] = [
      await add({ name: 'gone' }, '1'),
      await add({ name: 'removed' }, '2'),
      await add({ name: 'odd' }, '3'),
    ];
    await using app = await openApp(mirror.directory, { localStore: root });
    const urls = await Promise.all(
      [gone, removed, odd].map(
        async (path) => `/${parseNarInfo((await app.inject(narInfoUrl(path))).body, '/nix/store').url}`,
      ),
    );
    remove(gone);
    await rm(join(root, removed));
    await rm(join(root, odd));
    await mkdir(join(root, odd), { mode: 0o700 });
    for (const url of urls) assert.equal((await app.inject(url)).statusCode, 404, url);
    assert.equal((await app.inject(narInfoUrl(gone))).statusCode, 404);
  }));

test('serve signs the local store with both keys as soon as the key is rotated', () =>
  withStore(async ({ mirror, root, add }) => {
    const path = await add({ name: 'hello' }, 'x');
    const key = await rotateMirrorKey(mirror, 'ferry-2');
    await using app = await openApp(mirror.directory, { localStore: root });
    const info = parseNarInfo((await app.inject(narInfoUrl(path))).body, '/nix/store');
    assert.deepEqual(
      info.signatures.map((text) => text.split(':')[0]),
      ['ferry-1', 'ferry-2'],
    );
    assert.ok(trustedSignature(info, [publicKeyOf(key)]) !== undefined);
  }));

test('serve --local-store does not start without a key or a store', () =>
  withStore(async ({ mirror, root }) => {
    await assert.rejects(openApp(mirror.directory, { localStore: join(root, 'elsewhere') }), { code: 'usage' });
    const secret = join(mirror.directory, '.nixferry/keys/secret');
    await chmod(secret, 0o600);
    await rm(secret);
    await assert.rejects(openApp(mirror.directory, { localStore: root }), { code: 'bad-key' });
  }));

test('LocalStore breaks off, with less than was announced, when garbage is collected in the middle', () =>
  withStore(async ({ mirror, root, addTree }) => {
    const path = await addTree('tree', { a: 'a'.repeat(1_000_000), b: 'b'.repeat(1_000_000) });
    using store = await LocalStore.open({
      mirrorDirectory: mirror.directory,
      root,
      storeDir: '/nix/store',
      log: limitLog(pino({ level: 'silent' })),
    });
    const { answer = '' } = (await store.find(hashPartOf(path))) ?? {};
    const { url, narSizeBytes } = parseNarInfo(narInfoOfAnswer(answer), '/nix/store');
    const nar = await store.openNar(url.slice(LOCAL_NAR_PREFIX.length));
    assert.ok(nar !== undefined);
    let gotBytes = 0;
    await assert.rejects(async () => {
      for await (const chunk of nar.read(0, narSizeBytes - 1)) {
        if (gotBytes === 0) await rm(join(root, path), { recursive: true });
        gotBytes += chunk.length;
      }
    }, WrongBytes);
    assert.ok(gotBytes > 0 && gotBytes < narSizeBytes);
    assert.equal(await store.openNar(url.slice(LOCAL_NAR_PREFIX.length)), undefined);
  }));
