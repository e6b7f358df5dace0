import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseFlakeUrl, readDeclaredInputs } from './flake-references.ts';

const REV = 'a'.repeat(40);

test('parseFlakeUrl gives the attributes that Nix writes into a lock', () => {
  const github = { type: 'github', owner: 'NixOS', repo: 'nixpkgs' };
  const cases: Record<string, unknown> = {
    'github:NixOS/nixpkgs': github,
    'github:NixOS/nixpkgs/nixos-26.05': { ...github, ref: 'nixos-26.05' },
    'github:NixOS/nixpkgs/a/b?dir=lib': { ...github, ref: 'a/b', dir: 'lib' },
    [`github:NixOS/nixpkgs/${REV}`]: { ...github, rev: REV },
    'gitlab:a/b?host=git.example': { type: 'gitlab', owner: 'a', repo: 'b', host: 'git.example' },
    'git+https://git.example/a.git?ref=main': { type: 'git', url: 'https://git.example/a.git', ref: 'main' },
    'https://example.org/a.tar.gz': { type: 'tarball', url: 'https://example.org/a.tar.gz' },
    'tarball+https://example.org/a': { type: 'tarball', url: 'https://example.org/a' },
  };
  for (const [url, expected] of Object.entries(cases)) assert.deepEqual(parseFlakeUrl(url), expected, url);
  for (const url of [
    'nixpkgs',
    'flake:nixpkgs',
    'path:./sub',
    './sub',
    '/etc/nixos',
    'https://example.org/file',
    'github:a',
    'hg+https://x',
    '',
  ]) {
    assert.equal(parseFlakeUrl(url), undefined, url);
  }
});

test('readDeclaredInputs leaves out what follows another input, what Nix finds by itself, and what is not spelled as known', () => {
  const declared = readDeclaredInputs({
    a: { url: 'github:a/b', inputs: { nixpkgs: { follows: 'nixpkgs' } }, flake: false },
    b: { follows: 'a' },
    c: { url: 'path:./c' },
    d: { type: 'github', owner: 'a', repo: 'd', flake: false },
    e: { inputs: {} },
    f: { type: 'indirect', id: 'nixpkgs' },
  });
  assert.deepEqual(
    [...declared],
    [
      ['a', { type: 'github', owner: 'a', repo: 'b' }],
      ['d', { type: 'github', owner: 'a', repo: 'd' }],
    ],
  );
  assert.equal(readDeclaredInputs(['x']).size, 0);
});
