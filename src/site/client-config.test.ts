import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatPublicKey, generateSecretKey, publicKeyOf } from '../nix/signature.ts';
import { CLIENT_CONFIG_FORMATS, type ClientConfigFormat, formatClientConfig } from './client-config.ts';

const KEY = formatPublicKey(publicKeyOf(generateSecretKey('mirror.lan-1', Buffer.alloc(32, 1))));
const URL_TEXT = 'http://mirror.lan:8080';

test('formatClientConfig says in every format what keeps a client off the internet', () => {
  for (const format of CLIENT_CONFIG_FORMATS) {
    const config = formatClientConfig({ format, url: `${URL_TEXT}/`, publicKeys: [KEY] });
    for (const part of [
      URL_TEXT,
      KEY,
      'substitute',
      'connect-timeout',
      'download-attempts',
      'fallback',
      'NIX_CURL_FLAGS',
    ]) {
      assert.ok(config.includes(part), `${format}: ${part}`);
    }
    const bare = config.replaceAll(`${URL_TEXT}/hashed`, '');
    assert.ok(!bare.includes(`${URL_TEXT}/`), `${format}: no slash at the end, Nix adds its own`);
    assert.ok(!config.includes('flake-registry'), format);
    assert.match(config, /\n$/);
    assert.ok(config.split('\n').every((line) => line.length <= 180 || !line.trim().startsWith('#')));
  }
});

test('formatClientConfig has sources asked for by their hashes where a server answers that', () => {
  for (const format of CLIENT_CONFIG_FORMATS) {
    const config = formatClientConfig({ format, url: URL_TEXT, publicKeys: [KEY] });
    assert.match(config, /hashed-mirrors\b.*http:\/\/mirror\.lan:8080\/hashed/, format);
    assert.match(config, /NIX_HASHED_MIRRORS\b.*http:\/\/mirror\.lan:8080\/hashed/, format);
    const fromFolder = formatClientConfig({ format, url: 'file:///srv/mirror', publicKeys: [KEY] });
    assert.doesNotMatch(fromFolder, /hashed/i, format);
  }
});

test('formatClientConfig comments out what old versions of Nix do not know', () => {
  for (const format of CLIENT_CONFIG_FORMATS) {
    const config = formatClientConfig({ format, url: URL_TEXT, publicKeys: [KEY] });
    assert.match(config, /^\s*#(?:--option )?always-allow-substitutes/m, format);
  }
});

test('formatClientConfig replaces the substituters of NixOS, since a plain list is only added to', () => {
  const config = formatClientConfig({ format: 'nixos', url: URL_TEXT, publicKeys: [KEY] });
  assert.match(config, /substituters = lib\.mkForce \[ "http:\/\/mirror\.lan:8080" \];/);
});

test('formatClientConfig takes the registry from the mirror when flakes are used, and none where nobody serves it', () => {
  for (const format of CLIENT_CONFIG_FORMATS) {
    const config = formatClientConfig({ format, url: URL_TEXT, publicKeys: [KEY], flakes: true });
    assert.ok(config.includes(`${URL_TEXT}/flake-registry.json`), format);
    const fromFolder = formatClientConfig({ format, url: 'file:///srv/mirror', publicKeys: [KEY], flakes: true });
    assert.match(fromFolder, /flake-registry/, format);
    assert.ok(!fromFolder.includes('mirror/flake-registry'), format);
  }
});

test('formatClientConfig throws usage when the address could not be used or would need quoting', () => {
  const urls = [
    '',
    'mirror.lan',
    'ftp://a',
    'http://',
    'http://u:p@a',
    'http://a?b=c',
    'http://a/#x',
    'file:///',
    "http://a/'",
    'http://a/$(id)',
    'http://a b',
    'http://a/\nx',
  ];
  for (const url of urls) {
    assert.throws(() => formatClientConfig({ format: 'nix-conf', url, publicKeys: [KEY] }), { code: 'usage' }, url);
  }
});

test('formatClientConfig takes folders and addresses below a path', () => {
  for (const url of [
    'file:///srv/mirror',
    'https://lan.example/nix/cache',
    'http://[fd00::1]:8080',
    'http://10.0.0.1',
  ]) {
    const config = formatClientConfig({ format: 'nix-conf', url, publicKeys: [KEY] });
    assert.ok(config.includes(`substituters = ${url}\n`), url);
  }
});

test('formatClientConfig throws bad-key when there is no key, or one that is none', () => {
  for (const publicKeys of [
    [],
    ['x'],
    ['a:b'],
    [KEY, 'x'],
    [`a b:${KEY.split(':')[1]}`],
    [`a";:${KEY.split(':')[1]}`],
  ]) {
    assert.throws(() => formatClientConfig({ format: 'shell', url: URL_TEXT, publicKeys }), { code: 'bad-key' });
  }
});

test('formatClientConfig has git ask the mirror for its repositories, in every format', () => {
  const gitRewrites = [
    { base: 'git/git.example.org/', insteadOf: ['https://git.example.org/', 'git@git.example.org:'] },
  ];
  const key = 'url.http://ferry:8080/git/git.example.org/.insteadOf';
  const expected = {
    nixos:
      '"http://ferry:8080/git/git.example.org/".insteadOf = [ "https://git.example.org/" "git@git.example.org:" ];',
    'nix-conf': `#   git config --system --add ${key} https://git.example.org/\n#   git config --system --add ${key} git@`,
    shell: `export GIT_CONFIG_COUNT=2\nexport GIT_CONFIG_KEY_0='${key}'\nexport GIT_CONFIG_VALUE_0='https://git.example.org/'\n`,
    'nixos-install': `export GIT_CONFIG_VALUE_1='git@git.example.org:'\n`,
  };
  for (const [format, lines] of Object.entries(expected)) {
    const options = { format: format as ClientConfigFormat, url: 'http://ferry:8080', publicKeys: [KEY] };
    assert.ok(formatClientConfig({ ...options, gitRewrites }).includes(lines), format);
    assert.doesNotMatch(formatClientConfig(options), /insteadOf/);
  }
});
