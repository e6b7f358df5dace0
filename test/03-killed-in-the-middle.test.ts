// Pack and import as processes of their own, killed without warning: the same command finishes the work.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeRoot } from '../src/mirror/roots.ts';
import { formatPublicKey } from '../src/nix/index.ts';
import { importShipment } from '../src/shipment/import.ts';
import { importProblem } from '../src/shipment/import-problem.ts';
import {
  makeTempFolder,
  makeTestMirror,
  makeTestRoot,
  makeTestShipment,
  noise,
  openSite,
  SMALL_CLOSURE,
  type TestPath,
  visiblePaths,
} from './support/shipments.ts';

const PATHS: readonly TestPath[] = [
  ...SMALL_CLOSURE,
  ...Array.from({ length: 12 }, (_, index) => ({
    name: `part-${index}`,
    contents: noise(`part-${index}`, 6000),
    references: index === 0 ? ['app'] : ['app', `part-${index - 1}`],
  })),
];
const ALL_NAMES = PATHS.map(({ name }) => name).sort();

/** Runs the child and kills it without warning once it has made `steps` steps; says whether it was done before. */
function runAndKill(args: readonly string[], steps: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'support/shipment-child.ts'), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    let complaints = '';
    child.stderr.on('data', (data: Buffer) => {
      complaints += data.toString();
    });
    child.stdout.on('data', (data: Buffer) => {
      said += data.toString();
      if (said.length >= steps) child.kill('SIGKILL');
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0 || said.endsWith('done')) resolve(true);
      else if (signal === 'SIGKILL') resolve(false);
      else reject(new Error(complaints));
    });
  });
}

/** Kills later and later until the work is done before it is killed; gives how often it was killed. */
async function killUntilDone(args: readonly string[], afterEach: () => Promise<void>): Promise<number> {
  for (let kills = 0, steps = 1; ; kills++, steps += 7) {
    const isDone = await runAndKill(args, steps);
    await afterEach();
    if (isDone) return kills;
  }
}

test('packShipment never leaves a folder that looks finished, and finishes when it is killed again and again', async () => {
  await using temp = await makeTempFolder();
  const directory = join(temp.folder, 'sender');
  {
    await using sender = await makeTestMirror(directory, PATHS);
    await writeRoot(sender.mirror, makeTestRoot(sender.paths, 'all', ['part-11']));
  }
  const medium = join(temp.folder, 'medium');
  const folder = join(medium, 'plant-7-0001');
  const kills = await killUntilDone(['pack', directory, medium], async () => {
    const names: string[] = await readdir(folder).catch(() => []);
    if (!names.includes('manifest.json')) return;
    execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: folder });
  });
  assert.ok(kills >= 3, `killed only ${kills} times`);
  assert.deepEqual(await readdir(medium), ['plant-7-0001']);
  assert.ok(!(await readdir(folder)).includes('UNFINISHED.json'));
});

test('importShipment never shows what is not complete, and finishes when it is killed again and again', async () => {
  await using shipment = await makeTestShipment({ paths: PATHS, rootNames: ['part-11'] });
  const args = ['import', join(shipment.temp, 'site'), shipment.folder, formatPublicKey(shipment.sender.publicKey)];
  const kills = await killUntilDone(args, async () => {
    await using site = await openSite(shipment);
    await visiblePaths(site);
  });
  assert.ok(kills >= 3, `killed only ${kills} times`);
  await using site = await openSite(shipment);
  assert.deepEqual(await visiblePaths(site), ALL_NAMES);
  const result = await importShipment({ mirror: site, directories: [shipment.folder] });
  assert.equal(importProblem(result), undefined);
  assert.equal(result.alreadyImported, true);
});
