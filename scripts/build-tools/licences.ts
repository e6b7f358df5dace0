import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Needed, System } from './libraries.ts';

/** The terms under which each part of the tools may be passed on, as one text. */
export async function gatherLicences(
  root: string,
  node: string,
  system: System,
  needed: readonly Needed[],
): Promise<string> {
  const parts = [
    await licenceOf('Nixferry', root),
    await licenceOf('Node.js', path.dirname(path.dirname(node))),
    ...(await licencesOfPackages(root)),
    ...(await licencesOfSystem(system, needed)),
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

/** Loader, libraries, xz and bzip2 come from a system; a Debian says for each package what holds and where its source is. */
async function licencesOfSystem({ root }: System, needed: readonly Needed[]): Promise<string[]> {
  const documentation = path.join(root, '/usr/share/doc');
  const packages = root === '' ? await debianPackages(needed) : await readdir(documentation);
  const parts: string[] = [];
  for (const name of packages.sort()) {
    const text = await readFile(path.join(documentation, name, 'copyright'), 'utf8').catch(() => '');
    const title = `${name}, unchanged from Debian, which has its source as ${await sourceOf(root, name)}`;
    if (text !== '') parts.push(section(title, text));
  }
  return parts;
}

/** The packages of this machine that the files belong to; none when it is not a Debian. */
async function debianPackages(needed: readonly Needed[]): Promise<string[]> {
  const names = new Set<string>();
  for (const { file } of needed) {
    // Before Debian moved all of /lib to /usr/lib, and for packages that still say so.
    for (const candidate of [file, file.replace(/^\/usr\//, '/')]) {
      try {
        const { stdout } = await promisify(execFile)('dpkg-query', ['--search', candidate]);
        names.add(stdout.slice(0, stdout.indexOf(':')));
        break;
      } catch {
        // Not Debian, or a file of no package.
      }
    }
  }
  return [...names];
}

async function sourceOf(root: string, name: string): Promise<string> {
  const query = ['--showformat=${source:Package} ${source:Version}'];
  // Packages that were only unpacked are in no database.
  if (root !== '' && !existsSync(path.join(root, 'var/lib/dpkg/status'))) return `the source package of ${name}`;
  const { stdout } = await promisify(execFile)('dpkg-query', [
    `--admindir=${root}/var/lib/dpkg`,
    '--show',
    ...query,
    name,
  ]);
  return stdout;
}

function section(title: string, text: string): string {
  return `${'='.repeat(100)}\n${title}\n${'='.repeat(100)}\n\n${text.trimEnd()}\n`;
}
