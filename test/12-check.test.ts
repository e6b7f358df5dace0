// Before the medium leaves: `nixferry check` says from the mirror alone whether its clients can have what they are meant to. A mirror that was
// collected from a public cache is broken in every way that matters, and each time the very path is named.

import assert from 'node:assert/strict';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { nixferryCommand } from './support/nixferry.ts';
import { openPackageCrossing, type PackageCrossing } from './support/package-crossing.ts';
import { type RunResult, run } from './support/run.ts';

interface MissingLine {
  readonly path: string;
  readonly kind: string;
  readonly chain: readonly string[];
  readonly isUnsigned: boolean;
  readonly isWithheld: boolean;
  readonly damage?: string;
}

interface RootLine {
  readonly type: string;
  readonly name: string;
  readonly judged: string;
  readonly missing: readonly MissingLine[];
  readonly targets: readonly { readonly variant?: string; readonly builds: readonly string[] }[];
}

suite('check', () => {
  const cleanUp = new AsyncDisposableStack();
  let crossing: PackageCrossing;
  let whole: string;
  let copies = 0;

  before(async () => {
    crossing = cleanUp.use(await openPackageCrossing());
    whole = path.join(crossing.connected.directory, 'whole');
    await nixferry(
      whole,
      0,
      'collect',
      '--no-probes',
      '--variant',
      FISH,
      ...crossing.trust,
      crossing.origin.installable,
    );
  });
  after(() => cleanUp.disposeAsync());

  function nixferry(mirror: string, exitCode: number, ...args: readonly string[]): Promise<RunResult> {
    const { connected } = crossing;
    return connected.run(nixferryCommand, [...args, '--mirror', mirror], { exitCode, timeoutMs: 300_000 });
  }

  async function check(mirror: string, exitCode: number, ...roots: readonly string[]): Promise<RootLine> {
    const { stdout } = await nixferry(mirror, exitCode, 'check', '--json', ...roots);
    const lines = stdout.split('\n').filter((line) => line !== '');
    const root = lines.map((line) => JSON.parse(line) as RootLine).find(({ type }) => type === 'root');
    assert.ok(root !== undefined, stdout);
    return root;
  }

  async function copyOfMirror(): Promise<string> {
    const copy = path.join(crossing.connected.directory, `copy-${++copies}`);
    await cp(whole, copy, { recursive: true });
    return copy;
  }

  test('finds nothing missing in what was just collected', async () => {
    const root = await check(whole, 0);
    assert.equal(root.judged, 'derivations');
    assert.deepEqual(root.missing, []);
    assert.deepEqual(
      root.targets.map(({ variant }) => variant),
      [undefined, FISH],
    );
    const { stdout } = await nixferry(whole, 0, 'check', root.name);
    assert.match(stdout, /web01 \(reconfigure\): complete/);
    assert.match(stdout, /complete: 1 root checked, nothing is missing/);
  });

  test('opens no connection and starts no Nix', async () => {
    const programs = path.join(crossing.connected.directory, 'programs');
    // All that the launcher needs; Nix is none of it.
    const script = `
      mkdir "$0"
      for program in readlink uname unshare; do ln -s "$(command -v $program)" "$0"; done
      export PATH="$0"
      exec unshare --net "$1" check --mirror "$2"`;
    const { stdout } = await run('/bin/sh', ['-euc', script, programs, nixferryCommand, whole]);
    assert.match(stdout, /nothing is missing/);
  });

  test('names an output that was removed, with the derivations that want it', async () => {
    const mirror = await copyOfMirror();
    const dev = await removePath(mirror, /-kmod-[0-9.]+-dev$/);
    const { missing } = await check(mirror, 10);
    assert.deepEqual(
      missing.map(({ path: lost, kind }) => [lost, kind]),
      [[dev, 'output']],
    );
    assert.deepEqual(missing[0]?.chain.map(nameOf), [
      'nixos-system-web01-99.11.20991130.ferry.drv',
      'initrd-linux.drv',
      'linux-6.6.1-modules-shrunk.drv',
    ]);
    const { stderr } = await nixferry(mirror, 10, 'check');
    assert.ok(stderr.includes(`missing: ${dev}`), stderr);
    assert.match(stderr, /wanted for the root itself and every variant/);
    assert.match(stderr, /next: {2}on the connected side:\n +nixferry collect --scope reconfigure .*web01/);
  });

  test('names what a change wants that was not among the variants', async () => {
    const [changed = ''] = await crossing.set.instantiate(
      [
        `((nixos { imports = [ ${crossing.origin.directory}/configuration.nix ]; i18n.defaultLocale = "de_AT.UTF-8"; }).system)`,
      ],
      crossing.connected,
    );
    const root = await check(whole, 10, changed);
    assert.deepEqual(
      root.missing.map(({ path: lost }) => nameOf(lost)),
      ['glibc-locales-2.40'],
    );
    const [same = ''] = await crossing.set.instantiate(
      [
        `((nixos { imports = [ ${crossing.origin.directory}/configuration.nix ]; networking.hostName = lib.mkForce "lab-7"; }).system)`,
      ],
      crossing.connected,
    );
    assert.deepEqual((await check(whole, 0, same)).missing, []);
  });

  test('finds the sources of what was evaluated here in the store of this machine', async () => {
    const { connected } = crossing;
    const attributes = 'name = "own"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ source ];';
    const expression = `let source = builtins.toFile "own-source" "echo own > $out"; in derivation { ${attributes} }`;
    const [own = ''] = await connected.lines('nix-instantiate', ['--expr', expression]);
    assert.deepEqual((await check(whole, 0, own)).missing, []);
    const [source = ''] = await connected.lines('nix-store', ['--query', '--references', own]);
    await rm(connected.physical(source));
    const { missing } = await check(whole, 10, own);
    assert.deepEqual(
      missing.map(({ path: lost, kind }) => [lost, kind]),
      [[source, 'path']],
    );
  });

  test('takes a path that lost its signature, or its file, for missing', async () => {
    const mirror = await copyOfMirror();
    const unsigned = await editNarInfo(mirror, /-linux-6\.6\.1$/, (text) => text.replaceAll(/^Sig: .*\n/gm, ''));
    const damaged = await editNarInfo(mirror, /-patchelf-[0-9.]+$/, (text) => text);
    await rm(path.join(mirror, /^URL: (.*)$/m.exec(damaged.text)?.[1] ?? ''));
    const { missing } = await check(mirror, 10);
    const byPath = new Map(missing.map((one) => [one.path, one]));
    assert.equal(byPath.get(unsigned.storePath)?.isUnsigned, true);
    assert.match(byPath.get(damaged.storePath)?.damage ?? '', /its NAR .* is not there/);
    assert.equal(byPath.size, 2);
  });

  test('counts only signatures of the keys that clients trust', async () => {
    const stranger = `stranger-1:${Buffer.alloc(32, 1).toString('base64')}`;
    await nixferry(whole, 10, 'check', '--trusted-public-key', stranger);
  });

  test('says that changes cannot be judged where .drv files were not carried', async () => {
    const mirror = path.join(crossing.connected.directory, 'no-drvs');
    const { trust, origin } = crossing;
    await nixferry(mirror, 0, 'collect', '--no-probes', '--no-drvs', ...trust, origin.installable);
    // Where the .drv files were made, they are still found in the store; elsewhere not.
    assert.equal((await check(mirror, 0)).judged, 'derivations');
    const { stderr } = await run(nixferryCommand, ['check', '--mirror', mirror]);
    assert.match(stderr, /not judged: whether a changed configuration can be built/);
  });

  test('wants every source at rebuild', async () => {
    const mirror = path.join(crossing.connected.directory, 'rebuild');
    const root = `-f <nixpkgs> -A tmux -I nixpkgs=${crossing.set.nixpkgs}`.split(' ');
    await nixferry(mirror, 0, 'collect', '--scope', 'rebuild', ...crossing.trust, ...root);
    assert.deepEqual((await check(mirror, 0, 'tmux')).missing, []);
    const source = await removePath(mirror, /-hello-[0-9.]+\.tar\.gz$|-ncurses-[0-9.]+\.tar\.gz$/);
    const { missing } = await check(mirror, 10, 'tmux');
    assert.deepEqual(
      missing.map(({ path: lost, kind }) => [lost, kind]),
      [[source, 'fixed-output']],
    );
    assert.equal(nameOf(missing[0]?.chain[0] ?? ''), 'tmux-3.5.drv');
  });

  test('judges a store path by what it refers to', async () => {
    const mirror = await copyOfMirror();
    const infos = await narInfos(mirror);
    const referring = infos.find(({ storePath, references }) => !storePath.endsWith('.drv') && references.length > 0);
    const storePath = referring?.storePath ?? '';
    assert.deepEqual((await check(mirror, 0, storePath)).missing, []);
    const reference = infos.find((info) => info.storePath === referring?.references[0]);
    await rm(reference?.file ?? '');
    const { missing, judged } = await check(mirror, 10, storePath);
    assert.equal(judged, 'paths');
    assert.deepEqual(
      missing.map(({ path: lost, chain }) => [lost, chain[0]]),
      [[reference?.storePath, storePath]],
    );
  });

  test('refuses what is neither root nor store path', async () => {
    const { stderr } = await nixferry(whole, 2, 'check', 'web02');
    assert.match(stderr, /the mirror has no root 'web02'/);
  });
});

const FISH = 'programs.fish.enable = true;';

function nameOf(storePath: string): string {
  return path.basename(storePath).slice(33);
}

interface NarInfoFile {
  readonly file: string;
  readonly text: string;
  readonly storePath: string;
  /** Without the path itself. */
  readonly references: readonly string[];
}

async function narInfos(mirror: string): Promise<NarInfoFile[]> {
  const infos: NarInfoFile[] = [];
  for (const name of await readdir(mirror)) {
    if (!name.endsWith('.narinfo')) continue;
    const file = path.join(mirror, name);
    const text = await readFile(file, 'utf8');
    const storePath = /^StorePath: (.*)$/m.exec(text)?.[1] ?? '';
    const names = /^References: (.*)$/m.exec(text)?.[1]?.split(' ') ?? [];
    const references = names.filter((one) => one !== '').map((one) => `/nix/store/${one}`);
    infos.push({ file, text, storePath, references: references.filter((one) => one !== storePath) });
  }
  return infos;
}

async function removePath(mirror: string, name: RegExp): Promise<string> {
  const found = (await narInfos(mirror)).filter(({ storePath }) => name.test(storePath));
  assert.equal(found.length, 1, `${name} is ${found.map(({ storePath }) => storePath).join(', ')}`);
  for (const { file } of found) await rm(file);
  return found[0]?.storePath ?? '';
}

async function editNarInfo(mirror: string, name: RegExp, edit: (text: string) => string) {
  const found = (await narInfos(mirror)).find(({ storePath }) => name.test(storePath));
  assert.ok(found !== undefined, `no ${name}`);
  await writeFile(found.file, edit(found.text));
  return found;
}
