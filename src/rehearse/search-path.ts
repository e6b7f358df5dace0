import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import type { NixSettings } from '../evaluate/evaluation-request.ts';
import type { RootRecord } from '../mirror/roots.ts';
import { storePathFromBaseName } from '../nix/index.ts';

/**
 * `-I` and NIX_PATH as they are to be in the room: a tree that was collected is looked for in the store, everything else where it is. What was
 * collected comes first, for that is what the isolated side has.
 * @param outside where the file system outside has a path of the room
 * @param environment of this process
 */
export function roomSearchPath(
  settings: NixSettings,
  record: RootRecord,
  storeDir: string,
  outside: (path: string) => string,
  environment: NodeJS.ProcessEnv = process.env,
): { readonly settings: NixSettings; readonly env: Readonly<Record<string, string>> } {
  const channels = new Map<string, string>();
  for (const { kind, name, path } of record.evaluationInputs ?? []) {
    if (kind === 'channel') channels.set(name, treeIn(storePathFromBaseName(path, storeDir), outside));
  }
  const translate = (entry: string): string => translateEntry(entry, channels, storeDir);
  const own = (environment['NIX_PATH'] ?? '').split(':').filter((entry) => entry !== '' && !isUrl(entry));
  const collected = [...channels].map(([name, path]) => `${name}=${path}`);
  const nixPath = [...new Set([...own.map(translate), ...collected])].join(':');
  return { settings: { ...settings, searchPath: settings.searchPath.map(translate) }, env: { NIX_PATH: nixPath } };
}

/** The entries that name files and folders of this machine outside of a store: they are to be shown in the room. */
export function searchPathFiles(
  settings: NixSettings,
  storeDir: string,
  environment: NodeJS.ProcessEnv = process.env,
): string[] {
  const entries = [...settings.searchPath, ...(environment['NIX_PATH'] ?? '').split(':')];
  const chosen = environment['NIXOS_CONFIG'];
  const paths = entries.map((entry) => splitEntry(entry).path).filter((path) => path.startsWith('/'));
  return [...paths, ...(chosen === undefined ? [] : [chosen])].filter(
    (path) => existsSync(path) && !realpathSync(path).startsWith(`${storeDir}/`),
  );
}

function translateEntry(entry: string, channels: ReadonlyMap<string, string>, storeDir: string): string {
  const { name, path } = splitEntry(entry);
  const collected = channels.get(name ?? path.slice(path.lastIndexOf('/') + 1));
  if (collected !== undefined) return `${name === undefined ? '' : `${name}=`}${collected}`;
  // A profile or another link into the store: there are no profiles in the room.
  const real = path.startsWith('/') && existsSync(path) ? realpathSync(path) : path;
  return real.startsWith(`${storeDir}/`) ? `${name === undefined ? '' : `${name}=`}${real}` : entry;
}

function splitEntry(entry: string): { readonly name: string | undefined; readonly path: string } {
  const sign = entry.indexOf('=');
  return sign === -1 ? { name: undefined, path: entry } : { name: entry.slice(0, sign), path: entry.slice(sign + 1) };
}

/** What nix-channel unpacks has the tree in a folder of its own. */
function treeIn(path: string, outside: (path: string) => string): string {
  const folder = outside(path);
  if (!existsSync(folder) || existsSync(join(folder, 'default.nix'))) return path;
  const [only, ...others] = readdirSync(folder);
  const isTree = only !== undefined && others.length === 0 && existsSync(join(folder, only, 'default.nix'));
  return isTree ? `${path}/${only}` : path;
}

/** `https://…` has a colon itself, so splitting NIX_PATH leaves pieces of it; such a tree is fetched, not read. */
function isUrl(entry: string): boolean {
  return entry.startsWith('//') || /(^|=)(https?|file|channel|flake)$/.test(entry);
}
