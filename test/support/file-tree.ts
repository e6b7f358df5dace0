// Small file trees made in memory: written to disk, packed as a tarball, or hashed as Nix would hash them.

import { createHash } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { narNodeFromFileSystem } from '../../src/evaluate/file-tree.ts';
import { type Hash, hashFromDigest } from '../../src/nix/hash.ts';
import { type NarDirectoryNode, type NarNode, writeNar } from '../../src/nix/nar-writer.ts';

/** Relative path → contents; scripts (`#!`) and programs (ELF) are executable. */
export type FileTree = Readonly<Record<string, string | Buffer>>;

/** A folder's files, with `@word@` replaced wherever it is one of `words`. */
export async function readTree(directory: string, words: Readonly<Record<string, string>> = {}): Promise<FileTree> {
  const tree: Record<string, string> = {};
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(entry.parentPath, entry.name);
    const text = await readFile(file, 'utf8');
    tree[path.relative(directory, file)] = text.replaceAll(
      /@([a-z-]+)@/g,
      (whole, word: string) => words[word] ?? whole,
    );
  }
  return tree;
}

export async function writeTree(directory: string, tree: FileTree): Promise<void> {
  for (const [name, text] of Object.entries(tree)) {
    const file = path.join(directory, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text);
    if (isExecutable(text)) await chmod(file, 0o755);
  }
}

/** The same bytes for the same tree, whenever it is made; everything lies in the folder `prefix`. */
export async function tarballOf(tree: FileTree, prefix: string): Promise<Buffer> {
  const archive = pack();
  const mtime = new Date(1000);
  for (const folder of foldersOf(tree))
    archive.entry({ name: `${path.posix.join(prefix, folder)}/`, type: 'directory', mtime });
  for (const [name, text] of Object.entries(tree).toSorted(byName)) {
    archive.entry({ name: `${prefix}/${name}`, mode: isExecutable(text) ? 0o755 : 0o644, mtime }, text);
  }
  archive.finalize();
  return gzipSync(Buffer.concat(await Array.fromAsync(archive as AsyncIterable<Buffer>)));
}

export async function narHashOf(tree: FileTree): Promise<Hash> {
  const hash = createHash('sha256');
  for await (const chunk of writeNar(nodeOf(tree))) hash.update(chunk);
  return hashFromDigest('sha256', hash.digest());
}

/** The NAR hash of one file that stands alone. */
export async function fileNarHash(contents: Buffer): Promise<Hash> {
  const hash = createHash('sha256');
  for await (const chunk of writeNar(fileNode(contents))) hash.update(chunk);
  return hashFromDigest('sha256', hash.digest());
}

export async function narOf(tree: FileTree): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(writeNar(nodeOf(tree))));
}

/** Of what lies on the disk. */
export async function narOfPath(file: string): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(writeNar(await narNodeFromFileSystem(file))));
}

function nodeOf(tree: FileTree): NarDirectoryNode {
  const children = new Map<string, NarNode>();
  const folders = new Map<string, Record<string, string | Buffer>>();
  for (const [name, text] of Object.entries(tree)) {
    const [first = '', ...rest] = name.split('/');
    if (rest.length === 0) children.set(first, fileNode(text));
    else folders.set(first, { ...folders.get(first), [rest.join('/')]: text });
  }
  for (const [name, subtree] of folders) children.set(name, nodeOf(subtree));
  const sorted = [...children].map(([name, node]) => [Buffer.from(name), node] as const);
  return { type: 'directory', entries: () => sorted.toSorted(([a], [b]) => Buffer.compare(a, b)) };
}

function fileNode(text: string | Buffer): NarNode {
  const contents = typeof text === 'string' ? Buffer.from(text) : text;
  return {
    type: 'regular',
    executable: isExecutable(contents),
    sizeBytes: contents.length,
    contents: () => [contents],
  };
}

function foldersOf(tree: FileTree): string[] {
  const folders = new Set(['']);
  for (const name of Object.keys(tree)) {
    for (let folder = path.posix.dirname(name); folder !== '.'; folder = path.posix.dirname(folder))
      folders.add(folder);
  }
  return [...folders].sort();
}

function isExecutable(contents: string | Buffer): boolean {
  const start = contents.slice(0, 4).toString('latin1');
  return start.startsWith('#!') || start === '\x7fELF';
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}
