// What `npm publish` would send: packed, installed into an empty folder, and used for a small crossing by the Node that is
// on the PATH, which on Debian is an old one.

import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { assertInstalled, exportToMedium, openSite, realise } from './support/carry.ts';
import { createNixEnvironment } from './support/nix.ts';
import { repositoryRoot } from './support/nixferry.ts';
import { readPackageLock } from './support/package-lock.ts';
import { run, toolEnvironment } from './support/run.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';
import { makeUpstream } from './support/upstream.ts';

interface PackageJson {
  readonly name: string;
  readonly version: string;
}

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

suite('the packed package', () => {
  let temp: TempDir;
  let packed: Packed;
  let command: string;

  before(async () => {
    temp = await makeTempDir('package');
    packed = await pack(temp.path);
    command = await install(temp.join('user'), temp.join(packed.filename));
  });
  after(() => temp[Symbol.asyncDispose]());

  test('holds what users need and nothing else', () => {
    const names = packed.files.map((file) => file.path);
    for (const name of [
      'bin/nixferry',
      'dist/tools/nixferry',
      `dist/tools/${process.arch}/ld.so`,
      'dist/cli/main.js',
      'dist/nix/index.d.ts',
      'LICENSE',
      'README.md',
    ]) {
      assert.ok(names.includes(name), `${name} is packed`);
    }
    const folders = new Set(names.filter((name) => name.includes('/')).map((name) => name.split('/', 1)[0]));
    assert.deepEqual([...folders].toSorted(), ['bin', 'dist', 'docs']);
    assert.deepEqual(
      names.filter((name) => /\.test\.|test-support/.test(name)),
      [],
    );
  });

  test('prints its version and nothing else', async () => {
    const { stdout, stderr } = await run(command, ['--version']);
    const { version } = await readJson<PackageJson>('package.json');
    assert.deepEqual({ stdout, stderr }, { stdout: `${version}\n`, stderr: '' });
  });

  test('lets others import the formats as nixferry/nix', async () => {
    const source = "import { parseStorePath } from 'nixferry/nix'; console.log(typeof parseStorePath)";
    const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', source], {
      cwd: temp.join('user'),
    });
    assert.equal(stdout, 'function\n');
  });

  test('carries a closure from a file:// upstream to a client behind the air gap', async () => {
    await using connected = await createNixEnvironment();
    const upstream = await makeUpstream({ nix: connected, paths: 12, largestFileBytes: 20_000 });
    const url = `file://${upstream.directory}`;
    const directory = connected.directory;
    const medium = await exportToMedium({
      nix: connected,
      upstream,
      url,
      site: 'lab',
      directory,
      command,
      tools: true,
    });
    await using site = await openSite(medium, command);
    await using client = await createNixEnvironment({ network: site.gap.namespace });
    await realise(client, upstream.root, site);
    await assertInstalled(client, connected, upstream);
  });
});

async function pack(destination: string): Promise<Packed> {
  // npm runs the build, which needs the tools that npm installed; hence the test runner's own environment.
  const { stdout } = await run('npm', ['pack', '--json', '--silent', '--pack-destination', destination], {
    cwd: repositoryRoot,
    env: inheritedEnvironment(),
    timeoutMs: 180_000,
  });
  const [only] = JSON.parse(stdout.slice(stdout.indexOf('[\n'))) as Packed[];
  assert.ok(only);
  return only;
}

/**
 * Installs the tarball as the only dependency of an empty package; resolves to the command. The lock file is ours without
 * the tools, so npm asks no registry for what it has in its cache since `npm ci`.
 */
async function install(folder: string, tarball: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const own = await readJson<PackageJson & { bin: object; dependencies: object; optionalDependencies: object }>(
    'package.json',
  );
  const lock = await readPackageLock();
  const root = { name: 'user', version: '1.0.0', dependencies: { [own.name]: `file:${tarball}` } };
  const { version, bin, dependencies, optionalDependencies } = own;
  const packages = {
    '': root,
    [`node_modules/${own.name}`]: { version, resolved: `file:${tarball}`, bin, dependencies, optionalDependencies },
    ...Object.fromEntries(Object.entries(lock.packages).filter(([name, { dev }]) => name !== '' && dev !== true)),
  };
  await writeFile(path.join(folder, 'package.json'), JSON.stringify(root));
  await writeFile(
    path.join(folder, 'package-lock.json'),
    JSON.stringify({ ...root, lockfileVersion: lock.lockfileVersion, requires: true, packages }),
  );
  await run('npm', ['ci', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: folder,
    env: toolEnvironment({ HOME: process.env['HOME'] ?? '/root' }),
    timeoutMs: 180_000,
  });
  return path.join(folder, 'node_modules/.bin/nixferry');
}

async function readJson<T>(name: string): Promise<T> {
  return JSON.parse(await readFile(path.join(repositoryRoot, name), 'utf8')) as T;
}

function inheritedEnvironment(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
