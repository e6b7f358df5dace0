import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createHttpClient } from '../../base/http-client.ts';
import { ignoreProgress } from '../../base/progress.ts';
import { collectChannels } from '../../collect/collect-channels.ts';
import { showChannel } from '../../mirror/channels.ts';
import { openMirror } from '../../mirror/mirror.ts';
import { type RootRecord, readRoot, writeRoot } from '../../mirror/roots.ts';
import type { StorePathBaseName } from '../../nix/index.ts';
import { openApp } from '../mirror-fixture.test.ts';

const PACKAGE = `${'0'.repeat(32)}-hello` as StorePathBaseName;
const CHANNEL = '/channels/nixos-99.11';

test('a channel leads to its newest release, and older ones stay where they were', async () => {
  await using place = await makePlace();
  const first = await place.collect('expressions 1');
  await using app = await openApp(place.mirror.directory);
  const old = await app.inject(CHANNEL);
  assert.equal(old.statusCode, 302);
  assert.equal(old.headers.location, `nixos-99.11/${first}`);
  assert.equal((await app.inject(`${CHANNEL}/`)).headers.location, first);
  assert.equal((await app.inject(`${CHANNEL}/${first}`)).statusCode, 200);
  assert.equal((await app.inject(`${CHANNEL}/nixexprs.tar.xz`)).headers.location, `${first}/nixexprs.tar.xz`);

  const second = await place.collect('expressions 2');
  assert.notEqual(second, first);
  assert.equal((await app.inject(CHANNEL)).headers.location, `nixos-99.11/${second}`);
  for (const [release, text] of [
    [first, 'expressions 1'],
    [second, 'expressions 2'],
  ]) {
    const answer = await app.inject(`${CHANNEL}/${release}/nixexprs.tar.xz`);
    assert.equal(answer.body, text);
    assert.equal(answer.headers['content-type'], 'application/x-xz');
  }
  assert.equal((await app.inject(`${CHANNEL}/${second}/git-revision`)).body, 'abc');
});

test('a channel is 404 for what it has not, and 400 for what none can have', async () => {
  await using place = await makePlace();
  const release = await place.collect('expressions');
  await using app = await openApp(place.mirror.directory);
  for (const url of [
    '/channels/other',
    `${CHANNEL}/options.json.br`,
    `${CHANNEL}/${release}/x`,
    `${CHANNEL}/release.json`,
  ]) {
    assert.equal((await app.inject(url)).statusCode, 404, url);
  }
  for (const url of ['/channels/..%2f.nixferry', `${CHANNEL}/.hidden`, `${CHANNEL}/%2e%2e/x`]) {
    assert.ok([400, 404].includes((await app.inject(url)).statusCode), url);
  }
});

test('showChannel never goes back to what an older shipment of the same sender brought', async () => {
  await using place = await makePlace();
  await place.collect('expressions 1');
  const imported = async (sequence: number, record: RootRecord) =>
    showChannel(place.mirror, { ...record, shipment: { sender: 'a-1', site: 'lab', sequence } });
  const one = await place.record();
  const oneRelease = one.channel?.release;
  await place.collect('expressions 2');
  const two = await place.record();
  await imported(2, renamed(two, 'two'));
  assert.equal(await place.current(), 'two');
  await imported(1, one);
  assert.equal(await place.current(), 'two');
  await imported(3, { ...one, complete: false });
  assert.equal(await place.current(), 'two');
  await imported(3, one);
  assert.equal(await place.current(), oneRelease);
});

test('collectChannels refuses a channel whose list is no longer what was collected', async () => {
  await using place = await makePlace();
  await writeFile(join(place.folder, 'store-paths.xz'), `/nix/store/${'1'.repeat(32)}-other\n`);
  await assert.rejects(place.collect('expressions'), { code: 'upstream-incomplete' });
});

function renamed(record: RootRecord, release: string): RootRecord {
  assert.ok(record.channel !== undefined);
  return { ...record, channel: { ...record.channel, release } };
}

async function makePlace() {
  const directory = await mkdtemp(join(tmpdir(), 'nixferry-channels-'));
  const folder = join(directory, 'channels', 'nixos-99.11');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'store-paths.xz'), `/nix/store/${PACKAGE}\n`);
  await writeFile(join(folder, 'git-revision'), 'abc');
  const mirror = await openMirror(join(directory, 'mirror'), { access: 'write', create: true });
  const http = createHttpClient();
  const plain: RootRecord = {
    format: 1,
    id: 'channel',
    name: 'nixos-99.11',
    request: 'channel:nixos-99.11',
    scope: 'run',
    rootPaths: [PACKAGE],
    paths: [PACKAGE],
    complete: true,
    origin: 'collected',
  };
  const record = async () => {
    const found = await readRoot(mirror, 'channel');
    assert.ok(found?.channel !== undefined);
    return found;
  };
  return {
    folder,
    mirror,
    record,
    /** Resolves to the release. */
    collect: async (expressions: string) => {
      await writeFile(join(folder, 'nixexprs.tar.xz'), expressions);
      await writeRoot(mirror, plain);
      const channelsBase = join(directory, 'channels');
      const { signal } = new AbortController();
      const inputs = { mirror, http, channelsBase, onProgress: ignoreProgress, signal };
      const [changed] = await collectChannels([plain], inputs);
      assert.ok(changed?.paths.includes(changed.channel?.path ?? PACKAGE));
      return changed?.channel?.release ?? '';
    },
    current: async () => {
      const bytes = await mirror.storage.read('channels/nixos-99.11/release.json');
      return (JSON.parse(bytes?.toString() ?? '{}') as { release?: string }).release;
    },
    [Symbol.asyncDispose]: async () => {
      await http[Symbol.asyncDispose]();
      await mirror.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
