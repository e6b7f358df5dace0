import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { compareVersions, parseNixVersion, recogniseTooOld } from './nix-age.ts';

const FEATURES = `error: evaluation aborted with the following error message: '
       This version of Nixpkgs requires an implementation of Nix with the following features:
       - \`builtins.nixVersion\` reports at least 2.18

       You are evaluating with Nix 2.11.0, please upgrade:`;

test('recogniseTooOld takes the word of nixpkgs when it names the version that it needs', async () => {
  const older = "error: evaluation aborted: 'This version of Nixpkgs requires Nix >= 2.3.17, please upgrade:";
  assert.deepEqual(await recogniseTooOld(older, '2.2'), { isCertain: true, needed: '2.3.17' });
  assert.deepEqual(await recogniseTooOld(FEATURES, '2.11.0'), { isCertain: true, needed: '2.18' });
  const unnamed = FEATURES.replace(' reports at least 2.18', '');
  assert.deepEqual(await recogniseTooOld(unnamed, '2.11.0'), { isCertain: true, needed: undefined });
});

test('recogniseTooOld reads lib/minver.nix when the parser gave up before nixpkgs could say it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-minver-'));
  try {
    await mkdir(join(folder, 'pkgs/top-level'), { recursive: true });
    await mkdir(join(folder, 'lib'));
    await writeFile(join(folder, 'lib/minver.nix'), '# least version\n"2.18"\n');
    const said = `error: syntax error, unexpected '|'\n\n       at ${folder}/pkgs/top-level/default.nix:12:3:\n`;
    assert.deepEqual(await recogniseTooOld(said, '2.8.0'), { isCertain: true, needed: '2.18' });
    assert.deepEqual(await recogniseTooOld(said, '2.18.1'), { isCertain: false, needed: undefined });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('recogniseTooOld is certain when flags or files are of a newer Nix, and asks when it may be a slip', async () => {
  const certain = [
    "error: unrecognised flag '--apply'",
    "error: 'eval' is not a recognised command",
    "error: lock file '/etc/nixos/flake.lock' has unsupported version 7",
  ];
  for (const said of certain) {
    assert.deepEqual(await recogniseTooOld(said, '2.3.16'), { isCertain: true, needed: undefined }, said);
  }
  const slips = [
    "error: syntax error, unexpected ';' at /x.nix:1:2",
    "error: undefined variable '__trace2' at /x.nix:1:2",
  ];
  for (const said of slips) {
    assert.deepEqual(await recogniseTooOld(said, '2.8.0'), { isCertain: false, needed: undefined }, said);
  }
});

test('recogniseTooOld says nothing when the expression is wrong for every Nix', async () => {
  assert.equal(
    await recogniseTooOld("error: attribute 'hello' in selection path 'hello' not found", '2.8.0'),
    undefined,
  );
  assert.equal(await recogniseTooOld('', '2.8.0'), undefined);
});

test('parseNixVersion finds the version whoever made the Nix', () => {
  assert.equal(parseNixVersion('nix (Nix) 2.8.0\n'), '2.8.0');
  assert.equal(parseNixVersion('nix-store (Nix) 2.34.1+1\n'), '2.34.1');
  assert.equal(parseNixVersion('nix (Lix, like Nix) 2.91.1\nSystem type: x86_64-linux\n'), '2.91.1');
  assert.equal(parseNixVersion('nix (Nix) 2.4pre20211001_1ae18a7\n'), '2.4');
  assert.equal(parseNixVersion('no version'), undefined);
});

test('compareVersions counts numbers, not letters, when lengths differ', () => {
  assert.ok(compareVersions('2.8.0', '2.18') < 0);
  assert.ok(compareVersions('2.31.2', '2.31') > 0);
  assert.equal(compareVersions('2.4pre2021', '2.4.0'), 0);
});
