import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { chmodSync } from 'node:fs';
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { hashBytes, type NarNode, parseStorePath, type StorePath, writeNar } from '../nix/index.ts';
import { formatRegistrations } from './registration.ts';
import { removeUnpacked } from './remove-unpacked.ts';
import { type PackedClosure, type PackedPath, unpackClosure } from './unpack-closure.ts';

const folders: string[] = [];
after(async () => {
  for (const folder of folders) await removeUnpacked(folder);
});

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-store-'));
  folders.push(folder);
  return folder;
}

function file(text: string, executable = false): NarNode {
  const bytes = Buffer.from(text);
  return { type: 'regular', executable, sizeBytes: bytes.length, contents: () => [bytes] };
}

function directory(entries: Record<string, NarNode>): NarNode {
  return {
    type: 'directory',
    entries: () => Object.entries(entries).map(([name, node]) => [Buffer.from(name, 'latin1'), node]),
  };
}

function path(name: string): StorePath {
  return parseStorePath(`/nix/store/${'a'.repeat(31)}${name.length}-${name}`, '/nix/store');
}

async function closureOf(
  trees: Record<string, NarNode>,
): Promise<PackedClosure & { readonly nars: Map<string, Buffer> }> {
  const nars = new Map<string, Buffer>();
  const paths: PackedPath[] = [];
  for (const [name, tree] of Object.entries(trees)) {
    const nar = Buffer.concat(await Array.fromAsync(writeNar(tree)));
    const storePath = path(name);
    nars.set(storePath, nar);
    paths.push({ storePath, narHash: hashBytes('sha256', nar), narSizeBytes: nar.length, references: [] });
  }
  return {
    nars,
    paths,
    async *nar({ storePath }) {
      const nar = nars.get(storePath) ?? Buffer.alloc(0);
      for (let start = 0; start < nar.length; start += 7) yield nar.subarray(start, start + 7);
    },
  };
}

const TREE = directory({
  bin: directory({ tool: file('#!/bin/sh\n', true), 'with \xff': file('') }),
  link: { type: 'symlink', target: Buffer.from('bin/tool') },
  share: directory({}),
});

test('unpackClosure writes files, links and folders with the modes and times of a store', async () => {
  const storeFolder = join(await makeFolder(), 'nix/store');
  const closure = await closureOf({ tree: TREE, plain: file('just a file') });
  assert.deepEqual(await unpackClosure(closure, { storeFolder }), { unpackedPaths: 2, presentPaths: 0 });
  const tree = join(storeFolder, path('tree').slice('/nix/store/'.length));
  const modes = { '.': 0o555, bin: 0o555, 'bin/tool': 0o555, share: 0o555 };
  for (const [name, mode] of Object.entries(modes)) {
    const stats = await stat(join(tree, name));
    assert.deepEqual([stats.mode & 0o7777, stats.mtimeMs], [mode, 1000], name);
  }
  assert.equal(await readlink(join(tree, 'link')), 'bin/tool');
  assert.equal((await lstat(join(tree, 'link'))).mtimeMs, 1000);
  const names = await readdir(join(tree, 'bin'), { encoding: 'buffer' });
  assert.deepEqual(names.map((name) => name.toString('latin1')).toSorted(), ['tool', 'with \xff']);
  const plain = join(storeFolder, path('plain').slice('/nix/store/'.length));
  assert.equal(await readFile(plain, 'utf8'), 'just a file');
  assert.equal((await stat(plain)).mode & 0o7777, 0o444);
});

test('unpackClosure leaves what is there and removes what an interrupted attempt left', async () => {
  const storeFolder = await makeFolder();
  const closure = await closureOf({ tree: TREE, plain: file('x') });
  await unpackClosure(closure, { storeFolder });
  await mkdir(join(storeFolder, '.tmp-1/half/deep'), { recursive: true });
  chmodSync(join(storeFolder, '.tmp-1/half'), 0o555);
  assert.deepEqual(await unpackClosure(closure, { storeFolder }), { unpackedPaths: 0, presentPaths: 2 });
  assert.equal((await readdir(storeFolder)).length, 2);
});

test('unpackClosure shows nothing of a path when its NAR is changed, too short, too long or none', async () => {
  for (const spoil of [
    (nar: Buffer) => Buffer.from(nar).fill(0x21, nar.indexOf('#!'), nar.indexOf('#!') + 1),
    (nar: Buffer) => nar.subarray(0, -8),
    (nar: Buffer) => Buffer.concat([nar, Buffer.alloc(8)]),
    () => Buffer.from('nothing of the kind, but longer than a word'),
  ]) {
    const storeFolder = await makeFolder();
    const closure = await closureOf({ tree: TREE });
    closure.nars.set(path('tree'), spoil(closure.nars.get(path('tree')) ?? Buffer.alloc(0)));
    await assert.rejects(
      unpackClosure(closure, { storeFolder }),
      (error) => error instanceof NixferryError && error.code === 'damage' && error.message.includes('-tree'),
    );
    assert.deepEqual(await readdir(storeFolder), []);
  }
});

test('formatRegistrations writes what nix-store --load-db reads', async () => {
  const { paths, nars } = await closureOf({ plain: file('x') });
  const [plain] = paths;
  assert.ok(plain !== undefined);
  const text = formatRegistrations([
    { ...plain, references: [path('tree'), path('plain')], deriver: path('it.drv') },
    plain,
  ]);
  const lines = text.split('\n');
  assert.deepEqual(lines.slice(0, 7), [
    path('plain'),
    hash('sha256', nars.get(path('plain')) ?? ''),
    String(plain.narSizeBytes),
    path('it.drv'),
    '2',
    path('tree'),
    path('plain'),
  ]);
  assert.deepEqual(lines.slice(10), ['', '0', '']);
});
