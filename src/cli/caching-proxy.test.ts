import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { parseConfig } from '../config/config.ts';
import { DEFAULT_TRUSTED_PUBLIC_KEY } from '../config/default-trust.ts';
import { chooseProxy } from './caching-proxy.ts';

const KEY = `team:${Buffer.alloc(32, 3).toString('base64')}`;
const none = parseConfig('upstreams = ["https://cache.nixos.org"]', '/nixferry.toml');

test('chooseProxy makes no proxy of a server unless serve is told of upstreams', async () => {
  assert.equal(await chooseProxy({ sign: true }, none, '/nowhere'), undefined);
  await assert.rejects(chooseProxy({ sign: false }, none, '/nowhere'), /--no-sign is about upstreams/);
  await assert.rejects(chooseProxy({ sign: true, lookAhead: true }, none, '/nowhere'), /--look-ahead/);
  await assert.rejects(chooseProxy({ sign: true, upstream: ['ssh://x'] }, none, '/nowhere'), /another kind/);
});

test('chooseProxy makes the mirror that is not there, and trusts cache.nixos.org where it is an upstream', async () => {
  await using temp = await makeTempDir('choose');
  const mirror = temp.join('mirror');
  const options = { sign: true, upstream: ['https://cache.nixos.org', 'http://team'], trustedPublicKey: [KEY] };
  const proxy = await chooseProxy(options, none, mirror);
  assert.deepEqual(proxy?.trustedPublicKeys, [KEY, DEFAULT_TRUSTED_PUBLIC_KEY]);
  assert.match(await readFile(temp.join('mirror/nix-cache-info'), 'utf8'), /^StoreDir: \/nix\/store$/m);
  const own = await chooseProxy({ ...options, upstream: ['http://team'] }, none, mirror);
  assert.deepEqual(own?.trustedPublicKeys, [KEY]);
});

test('chooseProxy takes the settings of nixferry.toml where no flag says otherwise', async () => {
  await using temp = await makeTempDir('choose');
  const config = parseConfig('[serve]\nupstreams = ["http://team"]\nlook-ahead = true\nsign = false', '/nixferry.toml');
  const proxy = await chooseProxy({ sign: true }, config, temp.join('mirror'));
  assert.deepEqual(proxy, { upstreams: ['http://team'], trustedPublicKeys: [], sign: false, lookAhead: true });
});
