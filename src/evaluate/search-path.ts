import { realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { systemErrorCode } from '../base/errors.ts';
import { isHashPart, type StorePath } from '../nix/index.ts';
import { type EvaluateCall, evaluateValue } from './evaluate-value.ts';
import type { NixSettings } from './evaluation-request.ts';
import type { EvaluationStore } from './evaluation-store.ts';
import { nixString } from './nix-value.ts';

type Caller = Pick<EvaluateCall, 'workingDirectory' | 'signal'>;

/** A tree that evaluation read without having been told its hash: a channel, or another folder of the search path. */
export interface ReadTree {
  readonly name: string;
  readonly path: StorePath;
}

/**
 * The trees that files were read from, as far as others need them to evaluate the same: store paths that are named by `NIX_PATH`, `-I`, a profile or
 * in full; and folders of the search path outside of the store, which are copied into the evaluation store for this. Files beside these are
 * the user's own configuration, which he has where he changes it.
 * @param files as Nix named them, outside of the evaluation store
 */
export async function findReadTrees(
  files: Iterable<string>,
  store: EvaluationStore,
  storeDir: string,
  settings: NixSettings,
  caller: Caller,
): Promise<ReadTree[]> {
  const folders = await realFolders(files, store.directory);
  if (folders.size === 0) return [];
  const entries = await readSearchPath(settings, caller);
  const trees = new Map<string, ReadTree>();
  for (const folder of folders) {
    const path = storePathAbove(folder, storeDir);
    const entry = longest(entries.filter(({ target }) => isBelow(folder, target)));
    if (path !== undefined) trees.set(path, { name: nameOfTree(path, entries), path });
    else if (entry !== undefined && !trees.has(entry.target)) {
      trees.set(entry.target, { name: entry.name, path: await copyTree(entry, store, caller) });
    }
  }
  return [...trees.values()];
}

interface SearchPathEntry {
  readonly name: string;
  /** The folder, links followed. */
  readonly target: string;
}

/** The entries that are folders; those that are URLs are fetched, and a file is somebody's configuration. */
async function readSearchPath(settings: NixSettings, caller: Caller): Promise<SearchPathEntry[]> {
  const expression = 'map (entry: { inherit (entry) prefix; path = toString entry.path; }) builtins.nixPath';
  const args = [...settings.searchPath.flatMap((entry) => ['-I', entry]), '--impure', '--expr', expression];
  const { json } = await evaluateValue(undefined, { ...caller, args, purpose: 'reading the search path of Nix' });
  const entries = z.array(z.object({ prefix: z.string(), path: z.string() })).parse(JSON.parse(json.toString('utf8')));
  const folders: SearchPathEntry[] = [];
  for (const { prefix, path } of entries) {
    const target = prefix === 'nixos-config' || !path.startsWith('/') ? undefined : await realFolder(path);
    if (target !== undefined) folders.push({ name: prefix === '' ? lastPart(path) : prefix, target });
  }
  return folders;
}

async function copyTree(entry: SearchPathEntry, store: EvaluationStore, caller: Caller): Promise<StorePath> {
  const name = /^[A-Za-z0-9+\-._?=]+$/.test(entry.name) ? entry.name : 'source';
  // A clone's history is nothing that an evaluation reads.
  const expression = `builtins.path { path = ${nixString(entry.target)}; name = ${nixString(name)}; filter = path: _: baseNameOf path != ".git"; }`;
  const args = ['--impure', '--expr', expression];
  const { json } = await evaluateValue(store, { ...caller, args, purpose: `copying ${entry.target}` });
  return z.custom<StorePath>().parse(JSON.parse(json.toString('utf8')));
}

/** The folders of the files, links followed, without those in the evaluation store. */
async function realFolders(files: Iterable<string>, except: string): Promise<Set<string>> {
  const named = new Set<string>();
  for (const file of files) if (!isBelow(file, except) && file.startsWith('/')) named.add(dirname(file));
  const real = new Set<string>();
  for (const folder of named) {
    const target = await realFolder(folder);
    if (target !== undefined) real.add(target);
  }
  return real;
}

/** Undefined where there is no such folder: files that Nix only thinks of have none. */
async function realFolder(path: string): Promise<string | undefined> {
  try {
    const target = await realpath(path);
    return (await stat(target)).isDirectory() ? target : undefined;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemErrorCode(error) ?? '')) return undefined;
    throw error;
  }
}

function storePathAbove(folder: string, storeDir: string): StorePath | undefined {
  if (!isBelow(folder, storeDir)) return undefined;
  const base = folder.slice(storeDir.length + 1).split('/')[0] ?? '';
  return isHashPart(base.slice(0, 32)) && base[32] === '-' ? (join(storeDir, base) as StorePath) : undefined;
}

function nameOfTree(path: string, entries: readonly SearchPathEntry[]): string {
  return (
    entries.find(({ target }) => target === path || isBelow(target, path))?.name ?? path.slice(path.indexOf('-') + 1)
  );
}

function longest(entries: readonly SearchPathEntry[]): SearchPathEntry | undefined {
  return entries.toSorted((a, b) => b.target.length - a.target.length)[0];
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

function lastPart(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
