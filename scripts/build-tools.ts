// `npm run build:tools`: makes dist/tools, which `nixferry pack` puts on every medium: Nixferry as one program, for the kind of machine
// that this runs on, with all that it needs to start on a Linux that has nothing. What was built on another kind of machine
// may be laid beside it (dist/tools/arm64); the list of files then covers both. docs/format.md describes the result.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { bundle } from './build-tools/bundle.ts';
import { makeExecutable } from './build-tools/executable.ts';
import { findLibraries, LOADER, missingPrograms, type Needed } from './build-tools/libraries.ts';
import { gatherLicences } from './build-tools/licences.ts';

const root = path.join(import.meta.dirname, '..');
const dist = path.join(root, 'dist');
const tools = path.join(dist, 'tools');
const machine = process.arch;
const LAUNCHER = path.join(import.meta.dirname, 'build-tools/launcher.sh');
const PROGRAMS = ['xz', 'bzip2'] as const;
const EXIT_USAGE = 2;

const missing = missingPrograms(PROGRAMS);
if (process.platform !== 'linux' || LOADER === undefined) {
  refuse('the program for the medium can be built on Linux with glibc on x86_64 and aarch64 only');
} else if (missing.length > 0) {
  refuse(`not on the PATH: ${missing.join(', ')}\n  → apt-get install xz-utils bzip2`);
} else {
  await build();
}

async function build(): Promise<void> {
  const require = createRequire(import.meta.url);
  const node = path.join(path.dirname(require.resolve(`node-linux-${machine}/package.json`)), 'bin/node');
  const addon = createRequire(require.resolve('@napi-rs/lzma')).resolve(`@napi-rs/lzma-linux-${machine}-gnu`);
  const needed: readonly Needed[] = [...(await findLibraries(node, PROGRAMS)), { name: 'lzma.node', file: addon }];
  const main = await bundle(root);
  const licences = await gatherLicences(root, node, needed);

  // Copying and injecting take most of the time; `npm test` asks for the tools again and again.
  const stamp = await stampOf([node, LAUNCHER, ...needed.map(({ file }) => file)], [main, licences]);
  const stampFile = path.join(root, `node_modules/.cache/nixferry-tools-${machine}`);
  if (stamp === (await readFile(stampFile, 'utf8').catch(() => '')) && existsSync(path.join(tools, 'SHA256SUMS')))
    return;
  await rm(stampFile, { force: true });

  const folder = path.join(dist, `tools-${machine}.new`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const { name, file } of needed) {
    await copyFile(file, path.join(folder, name));
    await chmod(path.join(folder, name), 0o755);
  }
  await makeExecutable({ node, main, output: path.join(folder, 'nixferry'), root });

  await mkdir(tools, { recursive: true });
  await rm(path.join(tools, machine), { recursive: true, force: true });
  await rename(folder, path.join(tools, machine));
  await copyFile(LAUNCHER, path.join(tools, 'nixferry'));
  await chmod(path.join(tools, 'nixferry'), 0o755);
  await writeFile(path.join(tools, 'LICENCES.txt'), licences);
  await writeFile(path.join(tools, 'SHA256SUMS'), await checksums(tools));
  await mkdir(path.dirname(stampFile), { recursive: true });
  await writeFile(stampFile, stamp);
}

/** Changes with whatever the tools are made from. */
async function stampOf(files: readonly string[], texts: readonly string[]): Promise<string> {
  const digest = createHash('sha256');
  for (const file of files) digest.update(await readFile(file));
  for (const text of texts) digest.update(text);
  return digest.digest('hex');
}

/** As `sha256sum --check` reads it; also the list of what belongs to the tools. */
async function checksums(folder: string): Promise<string> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .filter((name) => name !== 'SHA256SUMS')
    .sort();
  const lines: string[] = [];
  for (const name of names) {
    const digest = createHash('sha256')
      .update(await readFile(path.join(folder, name)))
      .digest('hex');
    lines.push(`${digest}  ${name}\n`);
  }
  return lines.join('');
}

function refuse(message: string): void {
  process.stderr.write(`build-tools: ${message}\n`);
  process.exitCode = EXIT_USAGE;
}
