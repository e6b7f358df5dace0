import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { loadConfig, parseConfig } from './config.ts';

const usage = (pattern: RegExp) => (error: unknown) =>
  error instanceof NixferryError && error.code === 'usage' && pattern.test(error.message);

test('parseConfig resolves paths against the file when they are relative', () => {
  const config = parseConfig('mirror = "store"\nca-file = "/etc/ca.pem"\n', '/home/anna/nixferry.toml');
  assert.equal(config.mirror, '/home/anna/store');
  assert.equal(config.caFile, '/etc/ca.pem');
});

test('parseConfig reads where sources come from', () => {
  const text = 'sources-from = ["distfiles", "/srv/store"]\ntarballs-mirrors = []\n';
  const config = parseConfig(text, '/home/anna/nixferry.toml');
  assert.deepEqual(config.sourcesFrom, ['/home/anna/distfiles', '/srv/store']);
  assert.deepEqual(config.tarballsMirrors, []);
  assert.deepEqual(parseConfig('', '/n.toml').sourcesFrom, []);
});

test('parseConfig reads named roots when they are one text or a list', () => {
  const config = parseConfig('[roots]\none = "nixpkgs#hello"\ntwo = ["a", "b"]\n', '/n.toml');
  assert.deepEqual(
    [...config.roots],
    [
      ['one', ['nixpkgs#hello']],
      ['two', ['a', 'b']],
    ],
  );
});

test('parseConfig names the setting when it is unknown', () => {
  assert.throws(() => parseConfig('upstream = ["x"]\n', '/n.toml'), usage(/upstream/));
});

test('parseConfig names line and column when the text is no TOML', () => {
  assert.throws(() => parseConfig('mirror = \n', '/n.toml'), usage(/^\/n\.toml:1:\d+: /));
});

test('loadConfig gives defaults when there is no file, and an error when a named file is missing', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'nixferry-config-'));
  t.after(() => rm(directory, { recursive: true }));
  assert.equal((await loadConfig(undefined, directory)).file, undefined);
  await assert.rejects(loadConfig('other.toml', directory), usage(/other\.toml/));
  await writeFile(join(directory, 'nixferry.toml'), 'site = "ship"\n');
  assert.equal((await loadConfig(undefined, directory)).site, 'ship');
});

test('parseConfig reads variants when they are a list or a table, and finds their files beside nixferry.toml', () => {
  const list = parseConfig('variants = ["a = 1;", "./fish.nix"]\n', '/home/anna/nixferry.toml');
  assert.deepEqual(list.variants, [
    { name: undefined, source: 'a = 1;' },
    { name: undefined, source: '/home/anna/fish.nix' },
  ]);
  const table = parseConfig('probes = false\n[variants]\nfish = "programs.fish.enable = true;"\n', '/n.toml');
  assert.deepEqual(table.variants, [{ name: 'fish', source: 'programs.fish.enable = true;' }]);
  assert.equal(table.probes, false);
  assert.deepEqual(parseConfig('', '/n.toml').variants, []);
  assert.throws(() => parseConfig('variants = [1]\n', '/n.toml'), usage(/variants/));
});
