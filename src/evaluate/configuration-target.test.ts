import assert from 'node:assert/strict';
import { test } from 'node:test';
import { locateConfiguration, parseAttributePath } from './configuration-target.ts';
import { PLAIN_SETTINGS } from './evaluation-request.ts';

const caller = { workingDirectory: '/home/anna' };

async function locateFlake(reference: string) {
  const { installable, path } = await locateConfiguration(
    { kind: 'flake', reference, outputs: 'default' },
    PLAIN_SETTINGS,
    caller,
  );
  return [installable.kind === 'flake' ? installable.reference : undefined, ...path];
}

const names = (text: string) => parseAttributePath(text).map(({ name }) => name);

test('parseAttributePath keeps dots together when they are quoted', () => {
  assert.deepEqual(names('a."b.c".d'), ['a', 'b.c', 'd']);
  assert.deepEqual(names('a.0'), ['a', '0']);
  assert.deepEqual(names(''), []);
});

test('locateConfiguration finds the configuration in a flake output, and what is built of it', async () => {
  const build = ['config', 'system', 'build', 'vm'];
  const web = '.#nixosConfigurations."web.example.org"';
  assert.deepEqual(await locateFlake(`${web}.config.system.build.vm`), [web, ...build]);
  assert.deepEqual(await locateFlake(web), [web]);
  assert.deepEqual(await locateFlake('.#homeConfigurations.é.activationPackage'), ['.#homeConfigurations.é']);
  assert.deepEqual(await locateFlake('x#darwinConfigurations.mac.system'), ['x#darwinConfigurations.mac']);
  assert.deepEqual(await locateFlake('nixpkgs#hello'), ['nixpkgs#hello']);
  assert.deepEqual(await locateFlake('.#config.x'), ['.#config.x']);
  assert.deepEqual(await locateFlake('/etc/nixos.config.d'), ['/etc/nixos.config.d']);
});

test('locateConfiguration asks whether a file is a function of a configuration', async () => {
  const asked: string[] = [];
  const locate = (file: string, attribute: string, answer: boolean) =>
    locateConfiguration({ kind: 'file', file, attribute, outputs: 'default' }, PLAIN_SETTINGS, caller, async (args) => {
      asked.push(args.at(-1) ?? '');
      return Buffer.from(String(answer));
    });
  const channel = await locate('<nixpkgs/nixos>', 'system', true);
  assert.deepEqual([channel.path, channel.takesConfiguration], [['system'], true]);
  assert.equal(channel.installable.kind === 'file' && channel.installable.attribute, '');
  const other = await locate('hosts.nix', 'web.config.system.build.vm', false);
  assert.deepEqual(other.path, ['config', 'system', 'build', 'vm']);
  assert.equal(other.installable.kind === 'file' && other.installable.attribute, 'web');
  assert.match(asked[0] ?? '', /^let f = import <nixpkgs\/nixos>; in/);
  assert.match(asked[1] ?? '', /^let f = import "\/home\/anna\/hosts\.nix"; in/);
  await locate('channel:nixos-26.05', '', true);
  assert.equal(asked.length, 2, 'only the command line of Nix understands that name');
});
