import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Miss } from '../mirror/misses.ts';
import { chooseWantedRepositories, isPublicAddress, isPublicName } from './wanted-repositories.ts';

const miss = (name: string, count = 1): Miss => ({ kind: 'repository', name, count });

function choose(names: readonly string[], known: readonly (readonly [string, string])[] = [], refused = /$^/) {
  const asked: string[] = [];
  const chosen = chooseWantedRepositories(
    names.map((name) => miss(name)),
    {
      known: new Map(known),
      lookUp: async (host) => (host === 'gitlab.corp.com' ? ['198.51.100.1', '10.1.2.3'] : ['198.51.100.1']),
      probe: async ({ url }) => {
        asked.push(url);
        if (refused.test(url)) throw new NixferryError('upstream-unreachable', 'no');
      },
      signal: new AbortController().signal,
    },
  );
  return chosen.then(({ wanted, toName }) => ({ wanted, toName: toName.map(({ name }) => name), asked }));
}

test('chooseWantedRepositories takes what anybody can have by https from a public host, anonymously, with .git first', async () => {
  const { wanted, toName } = await choose(['git.example.org/team/lib', 'git.sr.ht/~anna/lib'], [], /sr\.ht.*\.git$/);
  assert.deepEqual(wanted, [
    { url: 'https://git.example.org/team/lib.git', place: 'git.example.org/team/lib.git', isAnonymous: true },
    { url: 'https://git.sr.ht/~anna/lib', place: 'git.sr.ht/~anna/lib.git', isAnonymous: true },
  ]);
  assert.deepEqual(toName, []);
});

test('chooseWantedRepositories asks nobody about hosts that are not public, ports, addresses and files', async () => {
  const names = [
    'localhost/etc/secrets',
    'localhost/home/anna/work',
    '127.0.0.1/a/b',
    '10.0.0.1/a/b',
    '0x7f.1/a/b',
    'gitlab/team/lib',
    'gitlab.corp/team/lib',
    'gitlab.internal/team/lib',
    'gitlab.corp.com/team/lib',
    'git.example.org:8443/team/lib',
    '169.254.169.254/latest/meta-data',
  ];
  const { wanted, toName, asked } = await choose(names);
  assert.deepEqual([wanted, asked], [[], []]);
  assert.deepEqual(toName.toSorted(), names.toSorted());
});

test('chooseWantedRepositories asks for what was named on this side before as it was named', async () => {
  const url = 'ssh://git@gitlab.corp.com/team/lib';
  const { wanted, toName } = await choose(
    ['gitlab.corp.com/team/lib', 'gitlab.corp.com/team/other'],
    [['gitlab.corp.com/team/lib.git', url]],
  );
  assert.deepEqual(wanted, [{ url, place: 'gitlab.corp.com/team/lib.git' }]);
  assert.deepEqual(toName, ['gitlab.corp.com/team/other']);
});

test('chooseWantedRepositories leaves what cannot be had, and what is beyond the bound, to be named', async () => {
  const { wanted, toName } = await choose(['git.example.org/a/gone', 'git.example.org/a/here'], [], /gone/);
  assert.equal(wanted.length, 1);
  assert.deepEqual(toName, ['git.example.org/a/gone']);
  const many = Array.from({ length: LIMITS.wantedRepositories + 3 }, (_, index) => `git.example.org/a/${index}`);
  const bounded = await choose(many);
  assert.equal(bounded.wanted.length, LIMITS.wantedRepositories);
  assert.equal(bounded.toName.length, 3);
});

test('isPublicName and isPublicAddress know what is the same for everybody', () => {
  for (const name of ['github.com', 'git.savannah.gnu.org', 'a.b.xn--p1ai']) assert.ok(isPublicName(name), name);
  for (const name of ['localhost', 'a', '1.2.3.4', '1.2', 'x.local', 'x.home.arpa', 'a.b:1']) {
    assert.ok(!isPublicName(name), name);
  }
  for (const address of ['140.82.121.3', '2606:50c0:8000::153']) assert.ok(isPublicAddress(address), address);
  for (const address of [
    '127.0.0.1',
    '172.20.0.1',
    '100.64.1.1',
    '::1',
    '::ffff:10.0.0.1',
    'fd00::1',
    'fe80::1',
    'x',
    '255.255.255.255',
  ]) {
    assert.ok(!isPublicAddress(address), address);
  }
});
