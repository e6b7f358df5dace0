import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { isRepositoryRoot, parseRootRequests } from './root-request.ts';

const HELLO = '00000000000000000000000000000000-hello';

let folder: string;
let storeDir: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nixferry-roots-'));
  storeDir = join(folder, 'store');
  await mkdir(join(storeDir, HELLO, 'bin'), { recursive: true });
  await symlink(HELLO, join(storeDir, `1${HELLO.slice(1)}`));
  await symlink(join(storeDir, HELLO, 'bin'), join(folder, 'result'));
  await symlink('result', join(folder, 'result-2'));
  await symlink(join(storeDir, `1${HELLO.slice(1)}`), join(folder, 'to-link'));
  await symlink('circle', join(folder, 'circle'));
  await mkdir(join(folder, 'config'));
  await writeFile(join(folder, 'config', 'flake.nix'), '{}');
  await mkdir(join(folder, 'plain'));
  await writeFile(join(folder, 'paths.txt'), '');
  await writeFile(join(folder, 'default.nix'), '{}');
});

after(() => rm(folder, { recursive: true }));

const parse = (text: string, named: Record<string, string[]> = {}) =>
  parseRootRequests([text], { workingDirectory: folder, storeDir, named: new Map(Object.entries(named)) });

const badRoot = (pattern: RegExp) => (error: unknown) =>
  error instanceof NixferryError && error.code === 'bad-root' && pattern.test(error.message);

test('parseRootRequests finds the store path when a path leads into it, directly or by links', async () => {
  const path = join(storeDir, HELLO);
  for (const text of [path, `${path}/bin/hello`, 'result', './result-2', join(folder, 'result')]) {
    const [root] = await parse(text);
    assert.equal(root?.kind === 'store-path' ? root.path : root?.kind, path, text);
  }
});

test('parseRootRequests stops at the store when a store path is itself a link', async () => {
  const [root] = await parse('to-link');
  assert.equal(root?.kind === 'store-path' && root.path, join(storeDir, `1${HELLO.slice(1)}`));
});

test('parseRootRequests takes a .drv for a derivation, also when it is not there', async () => {
  const [root] = await parse(`${storeDir}/${HELLO}.drv`);
  assert.equal(root?.kind, 'derivation');
});

test('parseRootRequests tells lists, channels and flakes apart', async () => {
  const kinds = [
    '-',
    'paths.txt',
    'https://example.org/store-paths.xz',
    'channel:nixos-26.05',
    'nixpkgs#hello^dev',
    'config',
  ];
  const roots = (await Promise.all(kinds.map((text) => parse(text)))).flat();
  assert.deepEqual(
    roots.map((root) => root.kind),
    ['list', 'list', 'list', 'channel', 'installable', 'installable'],
  );
});

test('parseRootRequests makes relative requests absolute, so that they mean the same anywhere', async () => {
  const [list, flake] = (await Promise.all([parse('paths.txt'), parse('./config#web')])).flat();
  assert.equal(list?.request, join(folder, 'paths.txt'));
  assert.equal(flake?.request, `${join(folder, 'config')}#web`);
});

test('parseRootRequests puts the roots of a name in its place', async () => {
  const roots = await parse('tools', { tools: ['nixpkgs#a', 'channel:b'] });
  assert.deepEqual(
    roots.map((root) => root.request),
    ['nixpkgs#a', 'channel:b'],
  );
});

test('parseRootRequests says what is wrong when a root is none', async () => {
  await assert.rejects(parse('nonsense'), badRoot(/'nonsense'/));
  await assert.rejects(parse('default.nix'), badRoot(/Nix expression/));
  await assert.rejects(parse('plain'), badRoot(/folder/));
  await assert.rejects(parse('circle'), badRoot(/circle/));
  await assert.rejects(parse('channel:../x'), badRoot(/not the name of a channel/));
  await assert.rejects(parse('nixpkgs#hello^a b'), badRoot(/no list of outputs/));
});

test('parseRootRequests takes git+ for a repository, and with # for an output of a flake', async () => {
  const [lib] = await parse('git+https://git.example.org/team/lib');
  assert.deepEqual(lib?.kind === 'repository' && lib.repository, {
    url: 'https://git.example.org/team/lib',
    place: 'git.example.org/team/lib.git',
  });
  const [branch] = await parse('git+ssh://git@git.example.org/lib.git?ref=release%2F1');
  assert.equal(branch?.kind === 'repository' && branch.repository.ref, 'release/1');
  for (const text of ['git+https://git.example.org/lib#default', 'git+https://git.example.org/lib?rev=abc#x']) {
    assert.equal((await parse(text))[0]?.kind, 'installable', text);
  }
  assert.deepEqual(
    ['git+https://git.example.org/lib', 'git+https://h/x#default', 'nixpkgs#hello'].map(isRepositoryRoot),
    [true, false, false],
  );
  for (const text of ['https://git.example.org/lib.git', 'ssh://git@git.example.org/lib.git/']) {
    await assert.rejects(parse(text), { code: 'bad-root', hint: `as one, it is written git+${text}` });
  }
  await assert.rejects(parse('git+https://git.example.org/lib?rev=abc'), badRoot(/more of a repository/));
  await assert.rejects(parse('git+https://git.example.org/lib?ref=..'), badRoot(/called so/));
  await assert.rejects(parse('git+https://anna:secret@git.example.org/lib'), badRoot(/no address of a repository/));
});
