// What happens to media on their way: volumes lost, cut off, scratched, taken from another shipment; sticks pulled out in the middle; clocks that
// are wrong by a century. Whatever it is, nothing unverified is shown, complete roots are imported, and the good copy completes the rest.
import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import type { OnProgress } from '../src/base/progress.ts';
import { openMirror } from '../src/mirror/mirror.ts';
import { writeRoot } from '../src/mirror/roots.ts';
import { formatPublicKey } from '../src/nix/index.ts';
import { importShipment } from '../src/shipment/import.ts';
import { importProblem } from '../src/shipment/import-problem.ts';
import { createNixEnvironment } from './support/nix.ts';
import { repositoryRoot } from './support/nixferry.ts';
import { type RunResult, run, toolEnvironment } from './support/run.ts';
import {
  flipBit,
  infoOf,
  makeTestMirror,
  makeTestRoot,
  makeTestShipment,
  noise,
  openSite,
  type TestPath,
  type TestShipment,
  visiblePaths,
} from './support/shipments.ts';
import { makeTempDir } from './support/temp-dir.ts';

/** Three roots that share nothing, each in volumes of its own; the last path of one is cut by the end of a volume. */
function paths(generation: string): TestPath[] {
  return ['left', 'middle', 'right'].flatMap((name): TestPath[] => [
    { name: `${name}-lib`, contents: noise(`${generation} ${name}-lib`, 9000) },
    { name, contents: noise(`${generation} ${name}`, name === 'middle' ? 30_000 : 9000), references: [`${name}-lib`] },
  ]);
}

function makeShipment(generation: string): Promise<TestShipment> {
  const rootNames = ['left', 'middle', 'right'];
  return makeTestShipment({ paths: paths(generation), rootNames, volumeSizeBytes: 12_000 });
}

const ALL_NAMES = paths('')
  .map(({ name }) => name)
  .sort();

/** What may happen to a volume, and how the import then ends. */
const HARMS: Readonly<
  Record<string, { exitCode: number; code: string; harm: (file: string, other: string) => Promise<void> }>
> = {
  missing: { exitCode: 10, code: 'import-partial', harm: (file) => rm(file) },
  'cut off': { exitCode: 14, code: 'damage', harm: (file) => truncate(file, 3000) },
  'empty of bytes': { exitCode: 14, code: 'damage', harm: (file) => truncate(file, 0) },
  'scratched by one bit': { exitCode: 14, code: 'damage', harm: (file) => flipBit(file, 2100) },
  'swapped for that of another shipment': { exitCode: 14, code: 'damage', harm: (file, other) => cp(other, file) },
};

suite('media that suffered', { concurrency: 3 }, () => {
  for (const [what, { exitCode, code, harm }] of Object.entries(HARMS)) {
    test(`importShipment takes in what is whole and names the volume when a volume is ${what}`, async () => {
      await using shipment = await makeShipment('one');
      await using other = await makeShipment('two');
      const { volumes } = shipment.result.manifest;
      assert.ok(volumes.length >= 6);
      for (const [index, { name }] of volumes.entries()) {
        await using site = await openSite(shipment, `site-${index}`);
        const file = join(shipment.folder, 'volumes', name);
        const good = await readFile(file);
        await harm(file, join(other.folder, 'volumes', name));
        // The first volumes of two shipments may be the same, byte by byte: then nothing was done to it.
        if ((await readFile(file).catch(() => undefined))?.equals(good) === true) continue;
        const options = { mirror: site, directories: [shipment.folder], trust: [shipment.sender.publicKey] };
        const result = await importShipment(options);
        const problem = importProblem(result);
        const visible = await visiblePaths(site);
        for (const root of result.roots) {
          const own = ALL_NAMES.filter((path) => path.startsWith(root.name));
          assert.equal(
            root.complete,
            own.every((path) => visible.includes(path)),
          );
        }
        const incomplete = result.roots.filter(({ complete }) => !complete);
        assert.ok(incomplete.length <= 2, `${name}: ${incomplete.length} roots were lost to one volume`);
        // The last volume may hold nothing but the end of the stream.
        if (code === 'damage' || incomplete.length > 0) {
          assert.equal(problem?.code, code, `${name}: ${problem?.message}`);
          assert.equal(problem.exitCode, exitCode);
          assert.match(`${problem.message} ${problem.hint}`, new RegExp(name.replace('.', '\\.')));
        }
        await writeFile(file, good);
        assert.equal(importProblem(await importShipment(options)), undefined);
        assert.deepEqual(await visiblePaths(site), ALL_NAMES);
      }
    });
  }

  test('importShipment ends with damage and goes on later when the medium is pulled out at any moment', async () => {
    await using shipment = await makeShipment('pulled');
    const spare = join(shipment.temp, 'spare');
    await cp(shipment.folder, spare, { recursive: true });
    const outcomes = new Set<string | undefined>();
    for (let moment = 1; moment <= 20; moment += 2) {
      for (const pull of [emptyAll, removeAll]) {
        await using site = await openSite(shipment, `site-${moment}-${pull.name}`);
        const medium = join(shipment.temp, `medium-${moment}-${pull.name}`);
        await cp(spare, medium, { recursive: true });
        let events = 0;
        let pulled: Promise<void> | undefined;
        const onProgress: OnProgress = () => {
          if (++events === moment) pulled = pull(medium);
        };
        const trust = [shipment.sender.publicKey];
        const first = await outcomeOf(importShipment({ mirror: site, directories: [medium], trust, onProgress }));
        await pulled;
        outcomes.add(first);
        assert.ok([undefined, 'damage', 'import-partial', 'not-a-shipment'].includes(first), first);
        await visiblePaths(site);
        assert.equal(await outcomeOf(importShipment({ mirror: site, directories: [spare], trust })), undefined);
        assert.deepEqual(await visiblePaths(site), ALL_NAMES);
      }
    }
    assert.ok(outcomes.has('damage'), [...outcomes].join());
  });

  test('nixferry import ends with 14 when the medium is unmounted under it, and finishes when it is back', async () => {
    await using shipment = await makeTestShipment({
      paths: [
        ...paths('mounted'),
        { name: 'large', contents: noise('large', 20_000_000), compression: 'none', references: ['left', 'right'] },
      ],
      rootNames: ['large', 'middle'],
      volumeSizeBytes: 1_000_000,
    });
    const medium = join(shipment.temp, 'mounted');
    await mkdir(medium);
    await run('mount', ['--bind', '-o', 'ro', shipment.folder, medium]);
    await using site = await openSite(shipment);
    const trust = [shipment.sender.publicKey];
    let unmounting: Promise<unknown> | undefined;
    const onProgress: OnProgress = (event) => {
      if (event.type === 'advance' && (event.bytes ?? 0) > 0) unmounting ??= run('umount', ['--lazy', medium]);
    };
    const first = await outcomeOf(importShipment({ mirror: site, directories: [medium], trust, onProgress }));
    await unmounting;
    assert.equal(first, 'damage');
    await visiblePaths(site);
    assert.equal(await outcomeOf(importShipment({ mirror: site, directories: [shipment.folder], trust })), undefined);
    assert.deepEqual(await visiblePaths(site), [...ALL_NAMES, 'large'].sort());
  });

  test('shipments are packed and imported in their order whatever the clocks say', async () => {
    await using temp = await makeTempDir('clocks');
    const sender = temp.join('sender');
    await using made = await makeTestMirror(sender, paths('clocks'));
    await writeRoot(made.mirror, makeTestRoot(made.paths, 'all', ['left', 'middle']));
    await made.mirror.close();
    const key = formatPublicKey(made.mirror.publicKey);
    const site = temp.join('site');
    const years = ['@1970-01-01 00:00:05', '@2100-12-31 12:00:00'];
    const pack = ['pack', '--to', temp.join('medium'), '--site', 'lab', '--no-tools', '--mirror', sender];
    const verdicts: RunResult[] = [];
    for (const [index, year] of [...years.toReversed(), ...years].entries()) {
      // The sender's clock runs backwards from one shipment to the next, and never agrees with the site's.
      const other = years.find((one) => one !== year) ?? '';
      await at(year, pack);
      const folder = temp.join('medium', `lab-000${index + 1}`);
      const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as { created: string };
      assert.match(manifest.created, new RegExp(`^${year.slice(1, 5)}`));
      verdicts.push(await at(other, ['import', folder, '--trust', key, '--mirror', site, '--json']));
    }
    assert.equal(verdicts.length, 4);
    await using mirror = await openMirror(site, { access: 'read' });
    assert.deepEqual(await visiblePaths(mirror), ['left', 'left-lib', 'middle', 'middle-lib']);
    await using nix = await createNixEnvironment({ shared: [temp.path], network: 'none' });
    const keys = ['--option', 'trusted-public-keys', formatPublicKey(mirror.publicKey)];
    await nix.run('nix', ['copy', '--from', `file://${site}`, ...keys, infoOf(made.paths, 'left').storePath]);
  });
});

/** The code with which an import ended; undefined when it was whole. */
async function outcomeOf(importing: ReturnType<typeof importShipment>): Promise<string | undefined> {
  try {
    return importProblem(await importing)?.code;
  } catch (error) {
    if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
    throw error;
  }
}

/** As a stick that is pulled out leaves its files: there by name, without contents. */
async function emptyAll(folder: string): Promise<void> {
  for (const name of await readdir(join(folder, 'volumes'))) await truncate(join(folder, 'volumes', name), 0);
}

async function removeAll(folder: string): Promise<void> {
  await rm(folder, { recursive: true });
}

/** Runs Nixferry with a clock that says something else. */
function at(time: string, args: readonly string[]): Promise<RunResult> {
  const [library] = globSync('/usr/lib/*/faketime/libfaketimeMT.so.1');
  assert.ok(library !== undefined, 'libfaketime is not installed');
  return run(process.execPath, [join(repositoryRoot, 'src/cli/main.ts'), ...args], {
    env: toolEnvironment({ LD_PRELOAD: library, FAKETIME: time, FAKETIME_DONT_FAKE_MONOTONIC: '1' }),
  });
}
