import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressRewrites, isRepositoryPlace, parseRepositoryAddress } from './repository-address.ts';

test('parseRepositoryAddress finds the same place for the same repository, whatever the protocol', () => {
  const addresses = [
    'https://git.example.org/team/lib.git',
    'https://Git.example.org/team/lib',
    'https://git.example.org//team/lib/',
    'ssh://git@git.example.org/team/lib.git',
    'git@git.example.org:team/lib.git',
    'git://git.example.org/team/lib',
  ];
  for (const url of addresses) assert.equal(parseRepositoryAddress(url)?.place, 'git.example.org/team/lib.git', url);
  assert.equal(parseRepositoryAddress('git@git.example.org:team/lib')?.url, 'ssh://git@git.example.org/team/lib');
  assert.equal(parseRepositoryAddress('file:///srv/git/lib.git')?.place, 'localhost/srv/git/lib.git');
  assert.equal(parseRepositoryAddress('https://host:8443/lib')?.place, 'host:8443/lib.git');
});

test('parseRepositoryAddress refuses passwords, other protocols, and paths that lead elsewhere', () => {
  const bad = [
    'https://anna:secret@git.example.org/lib',
    'https://@:x@git.example.org/lib',
    'ext::sh -c evil',
    'ftp://git.example.org/lib',
    'https://git.example.org/',
    'https://git.example.org/../../etc',
    'https://git.example.org/a/../b',
    'https://git.example.org/.hidden',
    'https://git.example.org/a.git/b',
    'https://git.example.org/a b',
    'https://git.example.org/a?x=1',
    'https://git.example.org/a%2fb',
    "https://git'example.org/lib",
    "https://a'b@git.example.org/lib",
    'https:///lib',
    'file://elsewhere/lib',
    '/srv/git/lib',
    `https://git.example.org/${'x'.repeat(2000)}`,
  ];
  for (const url of bad) assert.equal(parseRepositoryAddress(url), undefined, url);
});

test('isRepositoryPlace knows no repository in another one, and no name that climbs', () => {
  assert.ok(isRepositoryPlace('git.example.org/~anna/lib.git'));
  for (const place of [
    'lib.git',
    'h/.git',
    'h/..git/x.git',
    'h/a.git/b.git',
    'h/lib',
    'h//x.git',
    '../x.git',
    'h/\n.git',
  ]) {
    assert.ok(!isRepositoryPlace(place), place);
  }
});

test('addressRewrites has each protocol of a host lead to its repositories, and folders of a file system alone', () => {
  const urls = ['https://h/a', 'ssh://me@h/b', 'http://h:81/c', 'file:///srv/git/d.git'];
  assert.deepEqual(addressRewrites(urls), [
    { base: 'git/h/', insteadOf: ['git@h:', 'https://h/', 'ssh://git@h/', 'ssh://me@h/'] },
    { base: 'git/h:81/', insteadOf: ['http://h:81/'] },
    { base: 'git/localhost/srv/git/', insteadOf: ['file:///srv/git/'] },
  ]);
});
