import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PLAIN_SETTINGS } from '../evaluate/evaluation-request.ts';
import type { RootRecord } from '../mirror/roots.ts';
import { roomSearchPath, searchPathFiles } from './search-path.ts';
import { bindsFor } from './shared-files.ts';

const CHANNEL = `${'a'.repeat(32)}-nixos-25.11`;
const record = {
  evaluationInputs: [{ kind: 'channel', name: 'nixpkgs', path: CHANNEL }],
} as unknown as RootRecord;

let folder = '';
const outside = (path: string): string => join(folder, 'room', path);
before(async () => {
  // Below /dev, where the system's folder for temporary files may be set to, the room has everything anyway.
  folder = await mkdtemp('/tmp/nixferry-search-path-');
  await mkdir(outside(`/nix/store/${CHANNEL}/nixos`), { recursive: true });
  await writeFile(outside(`/nix/store/${CHANNEL}/nixos/default.nix`), '');
  await mkdir(join(folder, 'clone/hosts'), { recursive: true });
  await mkdir(join(folder, 'clone/.git'));
  await writeFile(join(folder, 'clone/hosts/web.nix'), '');
  await symlink(join(folder, 'clone/hosts/web.nix'), join(folder, 'current.nix'));
});
after(() => rm(folder, { recursive: true, force: true }));

test('roomSearchPath looks for what was collected in the store, where nix-channel put it, and leaves the rest', () => {
  const settings = { ...PLAIN_SETTINGS, searchPath: ['nixpkgs=/home/anna/nixpkgs', 'mine=/home/anna/mine'] };
  const environment = { NIX_PATH: `nixpkgs=/nowhere/nixpkgs:nixos-config=${folder}/x.nix:https://example.org/x.tgz` };
  const { settings: found, env } = roomSearchPath(settings, record, '/nix/store', outside, environment);
  const tree = `nixpkgs=/nix/store/${CHANNEL}/nixos`;
  assert.deepEqual(found.searchPath, [tree, 'mine=/home/anna/mine']);
  assert.equal(env['NIX_PATH'], `${tree}:nixos-config=${folder}/x.nix`);
});

test('roomSearchPath names what was collected where this machine has no NIX_PATH', () => {
  const { env } = roomSearchPath(PLAIN_SETTINGS, record, '/nix/store', outside, {});
  assert.equal(env['NIX_PATH'], `nixpkgs=/nix/store/${CHANNEL}/nixos`);
});

test('searchPathFiles gives what lies outside of the store, as far as it is there', () => {
  const settings = { ...PLAIN_SETTINGS, searchPath: [`mine=${folder}/clone`, 'gone=/nowhere/at/all'] };
  const environment = {
    NIX_PATH: `a=${folder}/current.nix:nixpkgs=channel:nixos`,
    NIXOS_CONFIG: `${folder}/clone/hosts`,
  };
  assert.deepEqual(searchPathFiles(settings, '/nix/store', environment), [
    join(folder, 'clone'),
    join(folder, 'current.nix'),
    join(folder, 'clone/hosts'),
  ]);
});

test('bindsFor shows a file with its folder, or with the clone that it is in, and a link with what it leads to', () => {
  const clone = { from: join(folder, 'clone'), at: join(folder, 'clone'), isFolder: true };
  assert.deepEqual(bindsFor([join(folder, 'clone/hosts/web.nix')]), [clone]);
  assert.deepEqual(bindsFor([join(folder, 'current.nix')]), [{ from: folder, at: folder, isFolder: true }]);
  assert.deepEqual(bindsFor([join(folder, 'clone'), join(folder, 'clone/hosts'), '/usr/bin', '/nowhere']), [clone]);
});

test('bindsFor shows only the file itself when its folder holds anything and everything', async () => {
  const file = join('/tmp', `nixferry-alone-${process.pid}.nix`);
  await writeFile(file, '');
  try {
    assert.deepEqual(bindsFor([file]), [{ from: file, at: file, isFolder: false }]);
  } finally {
    await rm(file);
  }
});
