import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findNetrcEntry, parseNetrc } from './netrc.ts';

test('parseNetrc reads entries on one line or on several', () => {
  const text =
    'machine Cache.example.org login me password a\nmachine b\n\tlogin you\n\tpassword c\n\tdefault login x password y\n';
  assert.deepEqual(parseNetrc(text), [
    { machine: 'cache.example.org', login: 'me', password: 'a' },
    { machine: 'b', login: 'you', password: 'c' },
    { machine: undefined, login: 'x', password: 'y' },
  ]);
});

test('parseNetrc skips comments, macros, accounts and unknown words', () => {
  const text = [
    '# machine no login no password no',
    'macdef init',
    'machine evil login evil password evil',
    '',
    'machine a account z login me # trailing machine words',
    'frobnicate password "p # \\"q\\"\\n"',
    'machine b login me password #secret',
  ].join('\r\n');
  assert.deepEqual(parseNetrc(text), [
    { machine: 'a', login: 'me', password: 'p # "q"\n' },
    { machine: 'b', login: 'me', password: '#secret' },
  ]);
});

test('parseNetrc takes a keyword for a value where a value is expected', () => {
  assert.deepEqual(parseNetrc('machine machine login login password password'), [
    { machine: 'machine', login: 'login', password: 'password' },
  ]);
});

test('parseNetrc survives files that stop in the middle', () => {
  assert.deepEqual(parseNetrc('machine'), []);
  assert.deepEqual(parseNetrc('machine a login'), [{ machine: 'a', login: '', password: '' }]);
  assert.deepEqual(parseNetrc('login me password you'), []);
  assert.deepEqual(parseNetrc('machine a password "open'), [{ machine: 'a', login: '', password: 'open' }]);
  assert.deepEqual(parseNetrc('macdef x\nmachine a login b password c'), []);
});

test('findNetrcEntry matches the whole host name, and takes the default only when no entry names it', () => {
  const entries = parseNetrc(
    'machine a.org login me password p machine a.org login you password q default login d password e',
  );
  const find = (hostname: string, login?: string, allowDefault = true) =>
    findNetrcEntry(entries, { hostname, login, allowDefault })?.password;
  assert.equal(find('A.org'), 'p');
  assert.equal(find('a.org', 'you'), 'q');
  assert.equal(find('a.org', 'nobody'), undefined);
  assert.equal(find('evil-a.org'), 'e');
  assert.equal(find('sub.a.org', undefined, false), undefined);
  assert.equal(find('other', 'd'), 'e');
});
