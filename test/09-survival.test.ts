// The commands themselves, killed without warning at hundreds of random moments: nothing unverified is ever visible, and the same command finishes
// the work. NIXFERRY_SEED repeats a run as far as the machine's timing does; NIXFERRY_KILLS asks for more.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, type TestContext, test } from 'node:test';
import { NixferryError } from '../src/base/errors.ts';
import { openMirror } from '../src/mirror/mirror.ts';
import { writeRoot } from '../src/mirror/roots.ts';
import { formatPublicKey } from '../src/nix/index.ts';
import { killAtRandom } from './support/kill-at-random.ts';
import { assertNothingHalfVisible } from './support/mirror-checks.ts';
import { createNixEnvironment } from './support/nix.ts';
import { makeRandom } from './support/random.ts';
import { infoOf, makeTestMirror, makeTestRoot, noise, type TestPath } from './support/shipments.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';

const KILLS = Number(process.env['NIXFERRY_KILLS'] ?? 70);

const PATHS: readonly TestPath[] = Array.from({ length: 24 }, (_, index) => ({
  name: `part-${index}`,
  contents: noise(`part-${index}`, index % 6 === 0 ? 120_000 : 7000),
  references: [index - 1, index - 5].filter((other) => other >= 0).map((other) => `part-${other}`),
}));

/** Whole cache of the sender, which serves as upstream, as what is packed, and as what made the shipments to import. */
let temp: TempDir;
let sender: string;
let senderKey: string;
let root: string;

before(async () => {
  temp = await makeTempDir('survival');
  sender = temp.join('sender');
  await using made = await makeTestMirror(sender, PATHS);
  await writeRoot(made.mirror, makeTestRoot(made.paths, 'all', ['part-23']));
  senderKey = formatPublicKey(made.mirror.publicKey);
  root = infoOf(made.paths, 'part-23').storePath;
});

after(() => temp[Symbol.asyncDispose]());

/** Every visible path has its NAR, whole, and all of its references. A mirror that is not there yet shows nothing. */
async function checkMirror(directory: string): Promise<number> {
  try {
    await using mirror = await openMirror(directory, { access: 'read' });
    return await assertNothingHalfVisible(mirror);
  } catch (error) {
    if (!(error instanceof NixferryError) || error.code !== 'not-a-mirror') throw error;
    const names = await namesIn(directory);
    assert.ok(names.every((name) => !name.endsWith('.narinfo')));
    return 0;
  }
}

async function checkWholeMirror(directory: string): Promise<void> {
  assert.equal(await checkMirror(directory), PATHS.length);
  await using mirror = await openMirror(directory, { access: 'write' });
  const found = (await mirror.index.totals()).paths;
  await mirror.index.rebuild();
  assert.equal(found, (await mirror.index.totals()).paths);
  assert.deepEqual(await readdir(mirror.layout.partialFolder), []);
  assert.deepEqual(await readdir(mirror.layout.tempFolder), []);
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch {
    return [];
  }
}

/** A folder with a manifest is whole, whenever one looks. Gives whether it has one. */
async function checkFolder(folder: string): Promise<boolean> {
  const names = await namesIn(folder);
  if (!names.includes('manifest.json')) return false;
  execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: folder });
  return true;
}

async function discsIn(folder: string): Promise<string[]> {
  const names = await namesIn(folder);
  return names.filter((name) => name.startsWith('disc-')).map((name) => join(folder, name));
}

/** Real Nix takes the whole closure out of a mirror. */
async function installFrom(directory: string, publicKey: string): Promise<void> {
  await using nix = await createNixEnvironment({ shared: [temp.path], network: 'none' });
  const options = ['--option', 'trusted-public-keys', publicKey];
  await nix.run('nix', ['copy', '--from', `file://${directory}`, ...options, root]);
  await nix.run('nix-store', ['--verify-path', root]);
}

function tell(context: TestContext, seed: number, { kills, rounds }: { kills: number; rounds: number }): void {
  context.diagnostic(`NIXFERRY_SEED=${seed}: killed ${kills} times in ${rounds} rounds`);
  assert.equal(kills, KILLS);
}

/** A mirror that a command fills, killed again and again: it never shows less than before, nor anything half; in the end it is whole, and Nix installs from it. */
async function fillKilled(context: TestContext, mirror: string, command: readonly string[]): Promise<void> {
  const random = makeRandom();
  context.diagnostic(`NIXFERRY_SEED=${random.seed}`);
  let visible = 0;
  const report = await killAtRandom({
    kills: KILLS,
    random,
    begin: async () => {
      await rm(mirror, { recursive: true, force: true });
      visible = 0;
      return {
        args: [...command, '--mirror', mirror],
        check: async () => {
          const now = await checkMirror(mirror);
          assert.ok(now >= visible, 'what was visible has vanished');
          visible = now;
          return false;
        },
      };
    },
    finished: () => checkWholeMirror(mirror),
  });
  tell(context, random.seed, report);
  await using filled = await openMirror(mirror, { access: 'read' });
  await installFrom(mirror, formatPublicKey(filled.publicKey));
}

suite('killed at random moments', { concurrency: 3 }, () => {
  test('collect never shows what is not whole, and finishes when the same command is typed again', async (context) => {
    const upstream = ['--upstream', `file://${sender}`, '--trusted-public-key', senderKey];
    await fillKilled(context, temp.join('collected'), ['collect', root, ...upstream]);
  });

  test('pack never leaves a manifest over what is not whole, and finishes the same shipment when it is typed again', async (context) => {
    const random = makeRandom();
    context.diagnostic(`NIXFERRY_SEED=${random.seed}`);
    const to = temp.join('packed');
    let folders: string[] = [];
    const report = await killAtRandom({
      kills: KILLS,
      random,
      begin: async (round) => {
        await rm(to, { recursive: true, force: true });
        // In turn a folder, and discs with room for some of the volumes each.
        const medium = round % 2 === 0 ? [] : ['--medium', '4450000'];
        const args = ['pack', '--to', to, '--site', 'lab', '--volume-size', '30000', '--no-tools', '--mirror', sender];
        return {
          args: [...args, ...medium],
          check: async () => {
            // A number that was taken and never stood on a folder is lost; two folders must never be.
            const shipments = await namesIn(to);
            assert.ok(shipments.length <= 1, shipments.join());
            const folder = join(to, shipments[0] ?? '');
            const names = await namesIn(folder);
            folders = round % 2 === 0 ? [folder] : await discsIn(folder);
            const whole = await Promise.all(folders.map(checkFolder));
            // The first disc's manifest is the last that is written.
            if (whole[0] === true) assert.ok(whole.every(Boolean));
            return whole[0] === true && !names.includes('UNFINISHED.json');
          },
        };
      },
      finished: async (round) => {
        assert.ok(folders.length > round % 2, 'everything lies on one disc');
        for (const folder of folders) assert.ok(await checkFolder(folder));
      },
    });
    tell(context, random.seed, report);
    await checkWholeMirror(sender);
  });

  test('import never shows what is not verified, and finishes when the same command is typed again', async (context) => {
    const medium = temp.join('medium');
    const packed = temp.join('packing-sender');
    await using made = await makeTestMirror(packed, PATHS);
    await writeRoot(made.mirror, makeTestRoot(made.paths, 'all', ['part-23']));
    await made.mirror.close();
    const program = join(import.meta.dirname, '../src/cli/main.ts');
    const pack = ['pack', '--to', medium, '--site', 'lab', '--volume-size', '30000', '--no-tools', '--mirror', packed];
    execFileSync(process.execPath, [program, ...pack], { stdio: 'ignore' });
    const key = formatPublicKey(made.mirror.publicKey);
    await fillKilled(context, temp.join('imported'), ['import', medium, '--trust', key]);
  });
});
