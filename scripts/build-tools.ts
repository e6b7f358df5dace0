// `npm run build:tools`: makes dist/tools, which `nixferry pack` puts on every medium: Nixferry as one program, for the kind of machine
// that this runs on, with all that it needs to start on a Linux that has nothing. docs/format.md describes the result.
// `npm run build:tools -- arm64 FOLDER` adds the same for another kind of machine, from what scripts/build-tools/fetch.sh put there.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { bundle } from './build-tools/bundle.ts';
import { makeExecutable } from './build-tools/executable.ts';
import { findLibraries, isMachine, type Needed, type System } from './build-tools/libraries.ts';
import { gatherLicences } from './build-tools/licences.ts';

const root = path.join(import.meta.dirname, '..');
const dist = path.join(root, 'dist');
const tools = path.join(dist, 'tools');
const LAUNCHER = path.join(import.meta.dirname, 'build-tools/launcher.sh');
const PROGRAMS = ['xz', 'bzip2'] as const;
const EXIT_USAGE = 2;

const [machine = process.arch, folder] = process.argv.slice(2);
if (process.platform !== 'linux' || !isMachine(machine)) {
  refuse('the program for the medium can be built on Linux, for x64 and arm64');
} else if (machine !== process.arch && folder === undefined) {
  refuse(
    `what it is made of must be given: scripts/build-tools/fetch.sh ${machine} FOLDER, then npm run build:tools -- ${machine} FOLDER`,
  );
} else if (
  folder === undefined &&
  !PROGRAMS.every((name) => existsSync(`/usr/bin/${name}`) || existsSync(`/bin/${name}`))
) {
  refuse(`${PROGRAMS.join(' and ')} go along and must be here\n  → apt-get install xz-utils bzip2`);
} else {
  await build({ root: folder === undefined ? '' : path.resolve(folder), machine });
}

async function build(system: System): Promise<void> {
  const packages = createRequire(system.root === '' ? import.meta.url : path.join(system.root, 'package.json'));
  const node = path.join(path.dirname(packages.resolve(`node-linux-${machine}/package.json`)), 'bin/node');
  const addonPackages = system.root === '' ? createRequire(packages.resolve('@napi-rs/lzma')) : packages;
  const addon = addonPackages.resolve(`@napi-rs/lzma-linux-${machine}-gnu`);
  const libraries = await findLibraries(system, PROGRAMS, [node, addon]);
  const needed: readonly Needed[] = [...libraries, { name: 'lzma.node', file: addon }];
  const main = await bundle(root);
  const licences = await gatherLicences(root, node, system, needed);

  // Copying and injecting take most of the time; `npm test` asks for the tools again and again.
  const stamp = await stampOf([node, ...needed.map(({ file }) => file)], [main, licences]);
  const stampFile = path.join(root, `node_modules/.cache/nixferry-tools-${machine}`);
  const isMade = existsSync(path.join(tools, machine));
  if (!isMade || stamp !== (await readFile(stampFile, 'utf8').catch(() => ''))) {
    await rm(stampFile, { force: true });
    await makeFolder(system, { node, needed, main, licences });
    await mkdir(path.dirname(stampFile), { recursive: true });
    await writeFile(stampFile, stamp);
  }
  for (const name of await readdir(tools)) if (!isMachine(name)) await rm(path.join(tools, name));
  await copyFile(LAUNCHER, path.join(tools, 'nixferry'));
  await chmod(path.join(tools, 'nixferry'), 0o755);
  await writeFile(path.join(tools, 'SHA256SUMS'), await checksums(tools));
}

interface FolderParts {
  readonly node: string;
  readonly needed: readonly Needed[];
  readonly main: string;
  readonly licences: string;
}

/** Makes `dist/tools/<machine>`, in place of an older one once it is whole. */
async function makeFolder({ machine: kind }: System, { node, needed, main, licences }: FolderParts): Promise<void> {
  const output = path.join(dist, `tools-${kind}.new`);
  await rm(output, { recursive: true, force: true });
  await mkdir(output, { recursive: true });
  for (const { name, file } of needed) {
    await copyFile(file, path.join(output, name));
    await chmod(path.join(output, name), 0o755);
  }
  await makeExecutable({ node, runsHere: kind === process.arch, main, output: path.join(output, 'nixferry'), root });
  await writeFile(path.join(output, 'LICENCES.txt'), licences);
  await mkdir(tools, { recursive: true });
  await rm(path.join(tools, kind), { recursive: true, force: true });
  await rename(output, path.join(tools, kind));
}

/** Changes with whatever the tools are made from. */
async function stampOf(files: readonly string[], texts: readonly string[]): Promise<string> {
  const digest = createHash('sha256');
  for (const file of files) digest.update(await readFile(file));
  for (const text of texts) digest.update(text);
  return digest.digest('hex');
}

/** As `sha256sum --check` reads it; also the list of what belongs to the tools. */
async function checksums(directory: string): Promise<string> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(directory, path.join(entry.parentPath, entry.name)))
    .filter((name) => name !== 'SHA256SUMS')
    .sort();
  const lines: string[] = [];
  for (const name of names) {
    const digest = createHash('sha256')
      .update(await readFile(path.join(directory, name)))
      .digest('hex');
    lines.push(`${digest}  ${name}\n`);
  }
  return lines.join('');
}

function refuse(message: string): void {
  process.stderr.write(`build-tools: ${message}\n`);
  process.exitCode = EXIT_USAGE;
}
