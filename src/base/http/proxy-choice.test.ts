import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxyAuthorization, proxyChoice, proxySettingsFrom } from './proxy-choice.ts';

const choose = (noProxy: string, target: string): boolean =>
  proxyChoice({ http: 'http://proxy:3128', https: 'http://proxy:3128', noProxy })(new URL(target)) !== undefined;

test('proxySettingsFrom prefers the lower-case spelling, and falls back on ALL_PROXY', () => {
  assert.deepEqual(proxySettingsFrom({ HTTP_PROXY: 'a', http_proxy: 'b', ALL_PROXY: 'c', NO_PROXY: 'd' }), {
    http: 'b',
    https: 'c',
    noProxy: 'd',
  });
  assert.deepEqual(proxySettingsFrom({ HTTPS_PROXY: '' }), { http: undefined, https: undefined, noProxy: undefined });
});

test('proxyChoice goes by the scheme of the target', () => {
  const proxyFor = proxyChoice({ http: 'one:80', https: 'https://two' });
  assert.equal(proxyFor(new URL('http://x/'))?.href, 'http://one/');
  assert.equal(proxyFor(new URL('https://x/'))?.href, 'https://two/');
  assert.equal(proxyChoice({})(new URL('https://x/')), undefined);
});

test('proxyChoice keeps away from hosts in NO_PROXY', () => {
  for (const entry of [
    'example.org',
    '.example.org',
    '*.example.org',
    'EXAMPLE.org',
    'x, example.org',
    '*',
    'a example.org b',
  ]) {
    assert.ok(!choose(entry, 'http://cache.example.org/'), entry);
  }
  assert.ok(!choose('example.org', 'https://example.org/'));
  assert.ok(choose('example.org', 'http://badexample.org/'));
  assert.ok(choose('', 'http://example.org/'));
});

test('proxyChoice minds ports, addresses and CIDR blocks in NO_PROXY', () => {
  assert.ok(!choose('example.org:8080', 'http://example.org:8080/'));
  assert.ok(choose('example.org:8080', 'http://example.org/'));
  assert.ok(!choose('example.org:443', 'https://example.org/'));
  assert.ok(!choose('127.0.0.1', 'http://127.0.0.1:1234/'));
  assert.ok(!choose('10.0.0.0/8', 'http://10.1.2.3/'));
  assert.ok(choose('10.0.0.0/8', 'http://11.1.2.3/'));
  assert.ok(!choose('::1', 'http://[::1]/'));
  assert.ok(!choose('fd00::/8', 'http://[fd00::5]/'));
  assert.ok(choose('10.0.0.0/99,1/2/3', 'http://10.1.2.3/'));
});

test('proxyChoice throws usage for an address that is none, without showing its password', () => {
  for (const http of ['socks5://me:secret@host', 'http://', '::::secret']) {
    assert.throws(
      () => proxyChoice({ http }),
      (error: Error & { code?: string }) => error.code === 'usage' && !error.message.includes('secret'),
    );
  }
});

test('proxyAuthorization decodes the user name and password of the address', () => {
  assert.equal(proxyAuthorization(new URL('http://host')), undefined);
  const value = proxyAuthorization(new URL('http://me:p%40ss@host')) ?? '';
  assert.equal(Buffer.from(value.slice('Basic '.length), 'base64').toString(), 'me:p@ss');
});
