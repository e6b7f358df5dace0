// collect, pack and import on file systems that run full at every step in turn: exit code 15, nothing unsound, and the same command
// finishes when there is more room.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { NixferryError } from '../src/base/errors.ts';
import { openMirror } from '../src/mirror/mirror.ts';
import { writeRoot } from '../src/mirror/roots.ts';
import { formatPublicKey } from '../src/nix/index.ts';
import { assertNothingHalfVisible } from './support/mirror-checks.ts';
import { createNixEnvironment } from './support/nix.ts';
import { repositoryRoot } from './support/nixferry.ts';
import { type RunResult, run } from './support/run.ts';
import { infoOf, makeTestMirror, makeTestRoot, noise, type TestPath } from './support/shipments.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';

const PATHS: readonly TestPath[] = Array.from({ length: 8 }, (_, index) => ({
  name: `part-${index}`,
  contents: noise(`part-${index}`, index === 3 ? 400_000 : 20_000),
  references: index === 0 ? [] : [`part-${index - 1}`],
}));
const STEP_BYTES = 64 * 1024;
/** Beyond this something is wrong: the whole takes less than 2 MB. */
const MOST_BYTES = 8 * 1024 * 1024;

let temp: TempDir;
let sender: string;
let senderKey: string;
let root: string;
let medium: string;

before(async () => {
  temp = await makeTempDir('full');
  sender = temp.join('sender');
  medium = temp.join('medium');
  await using made = await makeTestMirror(sender, PATHS);
  await writeRoot(made.mirror, makeTestRoot(made.paths, 'all', ['part-7']));
  senderKey = formatPublicKey(made.mirror.publicKey);
  root = infoOf(made.paths, 'part-7').storePath;
  await made.mirror.close();
  await nixferry(['pack', '--to', medium, '--site', 'lab', '--no-tools', '--mirror', sender]);
});

after(() => temp[Symbol.asyncDispose]());

function nixferry(args: readonly string[], preload: readonly string[] = []): Promise<RunResult> {
  return run(process.execPath, [...preload, join(repositoryRoot, 'src/cli/main.ts'), ...args], { exitCode: 'any' });
}

const BOUNDLESS = ['--import', join(import.meta.dirname, 'support/boundless-disk.ts')];

/** A file system of its own, in memory, that can grow. Needs root. */
async function withDisk(name: string, use: (folder: string) => Promise<void>): Promise<void> {
  await using disk = await makeTempDir(name);
  await run('mount', ['-t', 'tmpfs', '-o', `size=${STEP_BYTES}`, 'nixferry-test', disk.path]);
  try {
    await use(disk.path);
  } finally {
    await run('umount', [disk.path]);
  }
}

/** Types the same command with more and more room until it is done; gives how often there was too little. */
async function growUntilDone(disk: string, args: readonly string[], check: () => Promise<void>): Promise<number> {
  for (let sizeBytes = STEP_BYTES, refused = 0; sizeBytes < MOST_BYTES; sizeBytes += STEP_BYTES, refused++) {
    await run('mount', ['-o', `remount,size=${sizeBytes}`, disk]);
    const result = await nixferry(args, BOUNDLESS);
    await check();
    if (result.exitCode === 0) return refused;
    assert.equal(result.exitCode, 15, `with ${sizeBytes} bytes: ${result.stderr}`);
    assert.match(result.stderr, /error: no space left while writing .*\nnext: /);
  }
  throw new Error(`${args.join(' ')} was never done`);
}

async function visibleIn(directory: string): Promise<number> {
  try {
    await using mirror = await openMirror(directory, { access: 'read' });
    return await assertNothingHalfVisible(mirror);
  } catch (error) {
    if (error instanceof NixferryError && error.code === 'not-a-mirror') return 0;
    throw error;
  }
}

async function installFrom(directory: string, disk: string): Promise<void> {
  await using mirror = await openMirror(directory, { access: 'read' });
  await using nix = await createNixEnvironment({ shared: [disk], network: 'none' });
  const keys = ['--option', 'trusted-public-keys', formatPublicKey(mirror.publicKey)];
  await nix.run('nix', ['copy', '--from', `file://${directory}`, ...keys, root]);
}

suite('a disk that runs full', { concurrency: 3 }, () => {
  test('collect ends with 15 at every step, keeps the mirror sound, and finishes when the disk has grown', () =>
    withDisk('collect-disk', async (disk) => {
      const mirror = join(disk, 'mirror');
      const upstream = ['--upstream', `file://${sender}`, '--trusted-public-key', senderKey];
      const args = ['collect', root, ...upstream, '--mirror', mirror];
      const refused = await growUntilDone(disk, args, async () => void (await visibleIn(mirror)));
      assert.ok(refused >= 8, `refused only ${refused} times`);
      assert.equal(await visibleIn(mirror), PATHS.length);
      await installFrom(mirror, disk);
    }));

  test('import ends with 15 at every step, keeps the mirror sound, and finishes when the disk has grown', () =>
    withDisk('import-disk', async (disk) => {
      const mirror = join(disk, 'mirror');
      const args = ['import', medium, '--trust', senderKey, '--mirror', mirror];
      const refused = await growUntilDone(disk, args, async () => void (await visibleIn(mirror)));
      assert.ok(refused >= 8, `refused only ${refused} times`);
      assert.equal(await visibleIn(mirror), PATHS.length);
      await installFrom(mirror, disk);
    }));

  test('pack ends with 15 at every step, seals nothing half, and finishes the same shipment when the medium has grown', () =>
    withDisk('pack-disk', async (disk) => {
      const args = [
        'pack',
        '--to',
        disk,
        '--site',
        'ship',
        '--volume-size',
        '100000',
        '--no-tools',
        '--mirror',
        sender,
      ];
      const folder = join(disk, 'ship-0001');
      const refused = await growUntilDone(disk, args, async () => {
        const names = await namesIn(folder);
        if (names.includes('manifest.json')) checkSums(folder);
      });
      assert.ok(refused >= 8, `refused only ${refused} times`);
      assert.deepEqual(await readdir(disk), ['ship-0001']);
      checkSums(folder);
      assert.ok(!(await readdir(folder)).includes('UNFINISHED.json'));
    }));

  test('pack ends with 15 when the disk of the mirror is full, and finishes when it has room', () =>
    withDisk('sender-disk', async (disk) => {
      await run('mount', ['-o', `remount,size=${MOST_BYTES}`, disk]);
      const mirror = join(disk, 'mirror');
      await run('cp', ['-a', sender, mirror]);
      const to = temp.join('from-full');
      const args = ['pack', '--to', to, '--site', 'plane', '--no-tools', '--mirror', mirror];
      let refused = 0;
      for (let pages = 0; ; pages++) {
        await writeFile(join(disk, 'filler'), Buffer.alloc(MOST_BYTES)).catch(() => undefined);
        await run('truncate', ['--size', `-${pages * 4096}`, join(disk, 'filler')]);
        const result = await nixferry(args, BOUNDLESS);
        if (result.exitCode === 0) break;
        assert.equal(result.exitCode, 15, result.stderr);
        refused++;
      }
      assert.ok(refused >= 1);
      assert.equal(await visibleIn(mirror), PATHS.length);
      checkSums(join(to, 'plane-0001'));
    }));

  test('import and pack refuse beforehand, with numbers, when a disk is too small', () =>
    withDisk('small-disk', async (disk) => {
      const mirror = join(disk, 'mirror');
      await run('mount', ['-o', `remount,size=${4 * STEP_BYTES}`, disk]);
      const refusedImport = await nixferry(['import', medium, '--trust', senderKey, '--mirror', mirror]);
      assert.equal(refusedImport.exitCode, 15);
      assert.match(refusedImport.stderr, /needs \d+\.\d MB; [\d.]+ kB are free/);
      await rm(mirror, { recursive: true });
      const refusedPack = await nixferry(['pack', '--to', disk, '--site', 'small', '--no-tools', '--mirror', sender]);
      assert.equal(refusedPack.exitCode, 15);
      assert.match(refusedPack.stderr, /needs \d+\.\d MB; [\d.]+ kB are free/);
    }));
});

function checkSums(folder: string): void {
  execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: folder });
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch {
    return [];
  }
}
