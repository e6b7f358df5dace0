import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBundleHead, formatInfoRefs, formatPackedRefs, isCarriedRef, parseGitRefs } from './git-refs.ts';

const A = 'a'.repeat(40);
const B = 'b'.repeat(40);

test('parseGitRefs reads branches and tags with what annotated tags lead to, and passes other refs over', () => {
  const text = `${A}\tHEAD\n${A}\trefs/heads/main\n${B}\trefs/pull/1/head\n${B}\trefs/tags/v1\n${A}\trefs/tags/v1^{}\n`;
  const refs = parseGitRefs(text);
  assert.deepEqual(refs, [
    { name: 'refs/heads/main', id: A },
    { name: 'refs/tags/v1', id: B, peeled: A },
  ]);
  assert.deepEqual(parseGitRefs(formatInfoRefs(refs ?? [])), refs);
  assert.match(formatPackedRefs(refs ?? []), new RegExp(`\n${A} refs/heads/main\n${B} refs/tags/v1\n\\^${A}\n$`));
});

test('parseGitRefs refuses what is no list of refs, and names by sha256', () => {
  for (const text of ['<html>', `${A} `, `${A}${A.slice(0, 24)}\trefs/heads/main`, `${A.slice(1)}\trefs/heads/main`]) {
    assert.equal(parseGitRefs(text), undefined, text);
  }
  assert.deepEqual(parseGitRefs(''), []);
});

test('isCarriedRef takes names that git allows, and none that would lead somewhere else', () => {
  for (const name of ['refs/heads/main', 'refs/heads/feature/x@y', 'refs/tags/v1.0', 'refs/heads/größe']) {
    assert.ok(isCarriedRef(name), name);
  }
  const bad = [
    '../x',
    '.x',
    'a..b',
    'a b',
    'a\nb',
    'a~1',
    'a^',
    'a:b',
    'a?',
    'a*',
    'a[',
    'a\\b',
    'a//b',
    'a/',
    'a.',
    'a.lock',
    'x/.y',
    'a@{1',
    '',
  ];
  for (const name of bad) assert.ok(!isCarriedRef(`refs/heads/${name}`), name);
  for (const name of ['HEAD', 'refs/notes/x', 'refs/heads', 'x', `refs/heads/${'x'.repeat(1001)}`])
    assert.ok(!isCarriedRef(name), name);
});

test('formatBundleHead names what is in the bundle and what it builds on', () => {
  const head = formatBundleHead([{ name: 'refs/heads/main', id: B }], [A, A]);
  assert.equal(head, `# v2 git bundle\n-${A} \n${B} refs/heads/main\n\n`);
});
