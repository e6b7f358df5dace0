import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Command } from 'commander';
import { NixferryError } from '../base/errors.ts';
import { parseConfig } from '../config/config.ts';
import { joinArgumentPairs } from './argument-pairs.ts';
import { addEvaluatingOptions, describeSettings, type EvaluatingOptions, readEvaluating } from './evaluating.ts';

function read(args: readonly string[], toml = '') {
  const command = addEvaluatingOptions(new Command('collect').argument('[roots...]')).exitOverride();
  command.configureOutput({ writeErr: () => {} }).parse(joinArgumentPairs(args), { from: 'user' });
  return readEvaluating(command.opts<EvaluatingOptions>(), parseConfig(toml, '/n.toml'));
}

const missing = (error: unknown) => error instanceof NixferryError && /there is no file/.test(error.message);

test('readEvaluating takes arguments as Nix does, and says them back as they are typed', async () => {
  const words = '--system aarch64-linux -I nixpkgs=/n --arg a {x=1;} --argstr b c=d root'.split(' ');
  const { settings, probes } = await read(words);
  assert.deepEqual(settings, {
    systems: ['aarch64-linux'],
    searchPath: ['nixpkgs=/n'],
    arguments: [
      { kind: 'expression', name: 'a', value: '{x=1;}' },
      { kind: 'string', name: 'b', value: 'c=d' },
    ],
    impure: false,
  });
  assert.equal(probes, true);
  assert.equal(describeSettings(settings), " --system aarch64-linux -I nixpkgs=/n --arg a '{x=1;}' --argstr b c=d");
  assert.equal(describeSettings((await read([])).settings), '');
});

test('readEvaluating joins variants of flags, files and nixferry.toml, where they pass over what they do not fit', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-variants-'));
  const file = join(folder, 'fish.nix');
  await writeFile(file, '{ programs.fish.enable = true; }');
  try {
    const { variants } = await read(['--variant', 'a = 1;', '--variant', file], '[variants]\nmine = "b = 2;"');
    assert.deepEqual(variants, [
      { name: 'a = 1;', module: 'a = 1;' },
      { name: file, module: '{ programs.fish.enable = true; }' },
      { name: 'mine', module: 'b = 2;', isStanding: true },
    ]);
  } finally {
    await rm(folder, { recursive: true });
  }
  await assert.rejects(read(['--variant', './nowhere.nix']), missing);
});

test('readEvaluating leaves the probes out when a flag or nixferry.toml says so', async () => {
  assert.equal((await read(['--no-probes'])).probes, false);
  assert.equal((await read([], 'probes = false')).probes, false);
});

test('joinArgumentPairs joins only the two words behind --arg and --argstr', () => {
  assert.deepEqual(joinArgumentPairs(['--arg', 'a', '-1', 'b']), ['--arg=a=-1', 'b']);
  assert.deepEqual(joinArgumentPairs(['--', '--arg', 'a', 'b']), ['--', '--arg', 'a', 'b']);
  assert.throws(() => read(['--arg', 'a']), /takes the name of an argument/);
  assert.throws(() => read(['--arg', '1', 'b']), /takes the name of an argument/);
  assert.throws(() => read(['--system', 'linux']), /x86_64-linux/);
});
