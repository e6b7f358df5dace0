import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Needed } from './libraries.ts';

/** The terms under which each part of the tools may be passed on, as one text. */
export async function gatherLicences(root: string, node: string, needed: readonly Needed[]): Promise<string> {
  const parts = [
    await licenceOf('Nixferry', root),
    await licenceOf('Node.js', path.dirname(path.dirname(node))),
    ...(await licencesOfPackages(root)),
    ...(await licencesOfSystem(needed)),
  ];
  return `Nixferry and all that travels with it, each part under its own terms.\n\n${parts.join('\n')}`;
}

interface PackageLock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly optional?: boolean }>>;
}

/** Those of the libraries in the bundle: whatever is installed for use and not for development. */
async function licencesOfPackages(root: string): Promise<string[]> {
  const lock = JSON.parse(await readFile(path.join(root, 'package-lock.json'), 'utf8')) as PackageLock;
  const folders = Object.entries(lock.packages)
    .filter(([name, { dev, optional }]) => name !== '' && dev !== true && optional !== true)
    .map(([name]) => name)
    .sort();
  return Promise.all(folders.map((name) => licenceOf(name.replace(/^.*node_modules\//, ''), path.join(root, name))));
}

async function licenceOf(title: string, folder: string): Promise<string> {
  const file = (await readdir(folder)).find((name) => /^(licen[cs]e|copying)/i.test(name));
  if (file !== undefined) return section(title, await readFile(path.join(folder, file), 'utf8'));
  const { license } = JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8')) as { license?: string };
  return section(title, `Licence: ${license ?? 'see its package.json'}\n`);
}

/** Loader, libraries, xz and bzip2 come from this system; Debian says for each package what holds and where its source is. */
async function licencesOfSystem(needed: readonly Needed[]): Promise<string[]> {
  const packages = new Set<string>();
  for (const { file } of needed) packages.add((await debianPackage(file)) ?? '');
  packages.delete('');
  const parts: string[] = [];
  for (const name of [...packages].sort()) {
    const [bare = name] = name.split(':');
    const { stdout: source } = await promisify(execFile)('dpkg-query', [
      '--show',
      '--showformat=${source:Package} ${source:Version}',
      name,
    ]);
    const text = await readFile(path.join('/usr/share/doc', bare, 'copyright'), 'utf8').catch(() => '');
    parts.push(section(`${bare}, unchanged from Debian; its source is the Debian source package ${source}`, text));
  }
  return parts;
}

async function debianPackage(file: string): Promise<string | undefined> {
  // Before Debian moved all of /lib to /usr/lib, and for packages that still say so.
  for (const candidate of [file, file.replace(/^\/usr\//, '/')]) {
    try {
      const { stdout } = await promisify(execFile)('dpkg-query', ['--search', candidate]);
      return stdout.slice(0, stdout.lastIndexOf(': '));
    } catch {
      // Not Debian, or a file of no package.
    }
  }
  return undefined;
}

function section(title: string, text: string): string {
  return `${'='.repeat(100)}\n${title}\n${'='.repeat(100)}\n\n${text.trimEnd()}\n`;
}
