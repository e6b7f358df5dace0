import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { nixString } from './nix-value.ts';
import { NIXOS_PROBES } from './nixos-probes.ts';
import { moduleExpression, parseVariant, uniqueVariants } from './variant.ts';

const SETTINGS = [
  'programs.fish.enable = true;',
  '# why\n/* and how */ programs.fish.enable = true; # yes',
  'imports = [ ./x.nix ];',
  '"quoted".option = 1;',
  'inherit (import ./x.nix) networking;',
  'with.a.name = 1;',
  'import = 1;',
];
const MODULES = [
  '{ programs.fish.enable = true; }',
  '# why\n{ pkgs, ... }: { }',
  '({ config, ... }: { })',
  'args@{ pkgs, ... }: { }',
  '_: { }',
  'let a = 1; in { }',
  'with builtins; { }',
  'rec { }',
  'import ./x.nix',
  '/etc/nixos/fish.nix',
  '../fish.nix',
  '<nixpkgs/nixos/modules/profiles/minimal.nix>',
];

const usage = (error: unknown) => error instanceof NixferryError && error.code === 'usage';

test('moduleExpression wraps settings into a module with the usual arguments, and takes a module as it is', () => {
  for (const text of SETTINGS) {
    const expected = `imports = [ ({ config, lib, pkgs, ... }: {\n${text}\n}) ]; }`;
    assert.ok(moduleExpression(parseVariant(text)).endsWith(expected), text);
  }
  for (const text of MODULES) {
    assert.ok(moduleExpression(parseVariant(text)).endsWith(`imports = [ (\n${text}\n) ]; }`), text);
  }
});

test('moduleExpression names the variant to the module system when quotes and interpolations are in it', () => {
  const expression = moduleExpression({ name: 'a "b" ${c} \\', module: 'a = 1;' });
  assert.ok(expression.startsWith('{ _file = "variant a \\"b\\" \\${c} \\\\"; imports'), expression);
  assert.equal(nixString('a\n\r$'), '"a\\n\\r\\$"');
});

test('parseVariant calls a variant by its own text in one line unless a name is given', () => {
  assert.equal(parseVariant(' a = 1;\n  b = 2; ').name, 'a = 1; b = 2;');
  assert.equal(parseVariant('a = 1;', 'mine').name, 'mine');
  const long = parseVariant(`a = "${'x'.repeat(200)}";`);
  assert.equal([...long.name].length, 100);
  assert.ok(long.name.endsWith('…'));
});

test('parseVariant refuses what is empty or too long', () => {
  assert.throws(() => parseVariant(' \n'), usage);
  assert.throws(() => parseVariant(`a = "${'x'.repeat(70_000)}";`), usage);
});

test('uniqueVariants numbers variants of one name when a probe or another variant has it', () => {
  const names = uniqueVariants(['a', 'b', 'a', 'a'].map((name) => ({ name, module: '' }))).map(({ name }) => name);
  assert.deepEqual(names, ['a', 'b', 'a (2)', 'a (3)']);
  assert.equal(new Set(NIXOS_PROBES.map(({ name }) => name)).size, NIXOS_PROBES.length);
});
