// Package names and versions, split by us and by real Nix.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePackageName } from '../src/nix/index.ts';
import { createNixEnvironment } from './support/nix.ts';

const NAMES = [
  'hello-2.12',
  'hello',
  'python3.11-requests-2.31.0',
  'git-2.39.5-doc',
  'nixos-system-web01-26.05',
  'a--b',
  'a-',
  '-1',
  'x-_1',
  'lib.2-x86_64',
  'a-1-2',
];

test('parsePackageName splits names as builtins.parseDrvName does', async () => {
  await using nix = await createNixEnvironment();
  const expression = `map builtins.parseDrvName (builtins.fromJSON ''${JSON.stringify(NAMES)}'')`;
  const { stdout } = await nix.run('nix-instantiate', ['--eval', '--strict', '--json', '-E', expression]);
  assert.deepEqual(NAMES.map(parsePackageName), JSON.parse(stdout));
});
