import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { explainListenError, formatServerUrl, parseListenAddress } from './listen-address.ts';

test('parseListenAddress reads host and port when they are written in any of the three ways', () => {
  assert.deepEqual(parseListenAddress('127.0.0.1:8080'), { host: '127.0.0.1', port: 8080 });
  assert.deepEqual(parseListenAddress('mirror.lan:0'), { host: 'mirror.lan', port: 0 });
  assert.deepEqual(parseListenAddress(':8080'), { host: undefined, port: 8080 });
  assert.deepEqual(parseListenAddress('[::1]:8080'), { host: '::1', port: 8080 });
});

test('parseListenAddress throws usage when the text is none of these', () => {
  for (const text of [
    '',
    '8080',
    'host',
    'host:',
    'host:x',
    ':65536',
    '::1:80',
    '[::1]',
    '[x]:80',
    'http://a:80',
    'a b:80',
    'a:80/',
  ]) {
    assert.throws(() => parseListenAddress(text), { code: 'usage' }, text);
  }
});

test('formatServerUrl gives an address to connect to when all addresses are listened on', () => {
  assert.equal(formatServerUrl(undefined, 80), 'http://localhost:80');
  assert.equal(formatServerUrl('0.0.0.0', 81), 'http://localhost:81');
  assert.equal(formatServerUrl('::1', 82), 'http://[::1]:82');
  assert.equal(formatServerUrl('mirror.lan', 83), 'http://mirror.lan:83');
});

test('explainListenError says what to do when the address cannot be had, and passes other errors on', () => {
  const busy = explainListenError(Object.assign(new Error('x'), { code: 'EADDRINUSE' }), ':80');
  assert.ok(busy instanceof NixferryError && busy.code === 'address-in-use' && busy.hint !== undefined);
  const other = new Error('y');
  assert.equal(explainListenError(other, ':80'), other);
});
