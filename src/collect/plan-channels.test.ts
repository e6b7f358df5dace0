import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createHttpClient } from '../base/http-client.ts';
import { openMirror } from '../mirror/mirror.ts';
import { writeRoot } from '../mirror/roots.ts';
import type { StorePathBaseName } from '../nix/index.ts';
import { findChannelRelease } from '../upstream/channel-release.ts';
import { planChannels } from './plan-channels.ts';

const CHANNEL = { request: 'channel:nixos-99.11' };

test('planChannels counts the files of the release that a channel leads to, and fetches none of them', async () => {
  await using place = await openPlace({ 'nixexprs.tar.xz': 5_000_000, 'git-revision': 40, 'nixos.iso': 9 });
  const planned = await planChannels({ roots: [{ request: 'nixpkgs#hello' }, CHANNEL], ...place });
  const release = 'nixos-99.11.1';
  assert.deepEqual(planned, [{ name: 'nixos-99.11', release, files: 2, sizeBytes: 5_000_040, isHere: false }]);
});

test('planChannels says of a release that the mirror has that it is here', async () => {
  await using place = await openPlace({ 'nixexprs.tar.xz': 50 });
  const directory = await mkdtemp(join(tmpdir(), 'nixferry-plan-channels-'));
  await using mirror = await openMirror(directory, { access: 'write', create: true });
  const path = `${'0'.repeat(32)}-nixos-99.11.1` as StorePathBaseName;
  const common = { format: 1, scope: 'run', rootPaths: [], paths: [], complete: true, origin: 'collected' } as const;
  const channel = { name: 'nixos-99.11', release: 'nixos-99.11.1', path };
  await writeRoot(mirror, { ...common, id: 'channel', name: 'nixos-99.11', ...CHANNEL, channel });
  const inputs = { roots: [CHANNEL], findChannel: place.findChannel };
  assert.equal((await planChannels({ ...inputs, mirror }))[0]?.isHere, false, 'only its record is there');
  const withPath = { ...mirror, layout: mirror.layout, directory, hasPath: async () => true };
  assert.equal((await planChannels({ ...inputs, mirror: withPath as typeof mirror }))[0]?.isHere, true);
  await rm(directory, { recursive: true });
});

test('planChannels counts nothing of a channel that is a list of paths alone', async () => {
  await using place = await openPlace({ 'store-paths.xz': 50 });
  assert.deepEqual(await planChannels({ roots: [CHANNEL], ...place }), []);
});

/** A channel whose files are as long as is said, of which no byte is sent. */
async function openPlace(files: Readonly<Record<string, number>>) {
  const server = createServer(({ url = '' }, response) => {
    if (url === '/nixos-99.11') return response.writeHead(302, { location: '/releases/nixos-99.11.1' }).end();
    if (url === '/releases/nixos-99.11.1') return response.end('a folder');
    const size = files[url.replace('/releases/nixos-99.11.1/', '')];
    return size === undefined
      ? response.writeHead(404).end()
      : response.writeHead(200, { 'content-length': size }).flushHeaders();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const http = createHttpClient({ attempts: 1 });
  const channelsBase = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { signal } = new AbortController();
  return {
    mirror: undefined,
    findChannel: (name: string) => findChannelRelease(name, { http, channelsBase, signal }),
    [Symbol.asyncDispose]: async () => {
      await http[Symbol.asyncDispose]();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
