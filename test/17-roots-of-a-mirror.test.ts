// What happens to roots after they were collected: one that could not be had must not stand in the way for good, and two of one name stay two.

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { after, before, suite, test } from 'node:test';
import { privateLayout } from '../src/mirror/layout.ts';
import { openMisses } from '../src/mirror/misses.ts';
import { makeRootId, type RootRecord, readRoots, writeRoot } from '../src/mirror/roots.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { type RunResult, run, toolEnvironment } from './support/run.ts';
import { makeTestMirror, makeTestRoot, noise } from './support/shipments.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';

suite('the roots of a mirror', () => {
  const cleanUp = new AsyncDisposableStack();
  let temp: TempDir;
  let base: RootRecord;
  let place: { directory: string };

  before(async () => {
    temp = cleanUp.use(await makeTempDir('roots-of-a-mirror'));
    place = { directory: temp.join('mirror') };
    const contents = [{ name: 'report', contents: noise('report', 500) }];
    await using made = await makeTestMirror(place.directory, contents);
    base = makeTestRoot(made.paths, 'report', ['report']);
  });
  after(() => cleanUp.disposeAsync());

  async function setRoots(...changes: Partial<RootRecord>[]): Promise<RootRecord[]> {
    for (const { id } of await readRoots(place)) await nixferry(['rm', id]);
    const roots = changes.map(
      (change): RootRecord => Object.assign({}, base, change, { id: makeRootId(Object.assign({}, base, change)) }),
    );
    for (const root of roots) await writeRoot(place, root);
    return roots;
  }

  function nixferry(args: readonly string[], exitCode = 0): Promise<RunResult> {
    const env = toolEnvironment({ HOME: temp.path });
    return run(nixferryCommand, [...args, '--mirror', place.directory], { cwd: temp.path, env, exitCode });
  }

  const pack = (medium: string, exitCode: number, ...names: string[]) =>
    nixferry(['pack', ...names, '--site', medium, '--to', temp.join(medium), '--no-tools'], exitCode);

  const want = () => nixferry(['want', '--site', 'lab', '--to', temp.join('want')]);

  test('pack without names leaves out what is not complete, says how to go on, and ends with 10', async () => {
    const [, broken] = await setRoots({}, { name: 'broken', request: 'nixpkgs#broken', complete: false });
    const { stderr, stdout } = await pack('one', 10);
    assert.match(stderr, /left out, for not complete in this mirror: broken/);
    assert.match(stderr, /^ {2}nixferry collect nixpkgs#broken$/m);
    assert.match(stderr, new RegExp(`^  nixferry rm ${broken?.id}$`, 'm'));
    assert.match(stdout, /shipment 1 for one: 1 path /);
    assert.deepEqual(await readdir(temp.join('one')), ['one-0001']);
  });

  test('pack refuses an incomplete root that is named, and a mirror in which none is complete', async () => {
    await setRoots({}, { name: 'broken', request: 'nixpkgs#broken', complete: false });
    assert.match((await pack('two', 18, 'report', 'broken')).stderr, /the root broken is not complete/);
    await setRoots({ complete: false });
    assert.match((await pack('two', 18)).stderr, /no root of this mirror is complete[^]*nixferry rm report-/);
  });

  test('rm forgets a root by its name, and its paths stay', async () => {
    await setRoots({}, { name: 'broken', request: 'nixpkgs#broken', complete: false });
    const { stdout } = await nixferry(['rm', 'broken']);
    assert.match(stdout, /forgotten: broken \(nixpkgs#broken\)\ncomplete: 1 root forgotten; the paths stay/);
    assert.deepEqual(
      (await readRoots(place)).map(({ name }) => name),
      ['report'],
    );
    await nixferry(['show', `/nix/store/${base.rootPaths[0]}`]);
    await pack('three', 0);
  });

  test('rm refuses a name that several roots have, lists their ids, and takes one of these', async () => {
    const [first, second] = await setRoots(
      { request: '/home/anna/web#report' },
      { request: '-f /srv/a.nix -A report' },
    );
    const { stderr } = await nixferry(['rm', 'report'], 2);
    for (const root of [first, second]) assert.ok(stderr.includes(`nixferry rm ${root?.id}    # ${root?.request}`));
    assert.equal((await readRoots(place)).length, 2);
    await nixferry(['rm', second?.id ?? '']);
    assert.deepEqual(
      (await readRoots(place)).map(({ id }) => id),
      [first?.id],
    );
    assert.match((await nixferry(['rm', 'nothing'], 2)).stderr, /no root 'nothing'/);
  });

  test('collect, plan and export say of a name that they do not know that it is a root of the mirror', async () => {
    await setRoots(
      { request: 'nixpkgs#report' },
      { name: 'nixosConfigurations.web', request: '.#web', complete: false },
    );
    const upstream = ['--upstream', `file://${place.directory}`];
    for (const command of [['plan'], ['collect'], ['export', '--site', 'x', '--to', temp.path, '--no-tools']]) {
      const { stderr } = await nixferry([...command, 'report', ...upstream], 2);
      assert.match(
        stderr,
        /it is a root of the mirror .*\n.* nixferry pack report .*\n.* nixferry collect nixpkgs#report\n/,
      );
    }
    const { stderr } = await nixferry(['collect', 'web', ...upstream], 2);
    assert.match(stderr, /nixferry collect \.#web/);
    assert.doesNotMatch(stderr, /nixferry pack web/);
    assert.match((await nixferry(['collect', 'nothing', ...upstream], 2)).stderr, /next: {2}a root is a store path/);
  });

  test('want says when no server has noted anything, as often as it is typed, and not when one has', async () => {
    for (let time = 0; time < 2; time += 1) {
      const { stdout, stderr } = await want();
      assert.match(
        stderr,
        /^no server has ever noted here that a client asked for something in vain\. Only nixferry serve/,
      );
      assert.match(stdout, /^complete: 0 derivations that could not be built/);
    }
    const notes = openMisses(privateLayout(place.directory).missesFile);
    notes.add([{ kind: 'flake', name: 'nixpkgs', count: 1 }]);
    notes.close();
    const { stdout, stderr } = await want();
    assert.equal(stderr, '');
    assert.match(stdout, /^complete: 1 thing that clients asked for in vain, 0 derivations/);
  });

  test('show lists the shipments of a medium that holds several, and says to name one', async () => {
    await setRoots({});
    await pack('stick', 0);
    await pack('stick', 0);
    const medium = temp.join('stick');
    const { stdout } = await nixferry(['show', medium]);
    assert.match(
      stdout,
      /^2 shipments, by what they say themselves\n.*stick-0001 +shipment 1 for stick .*report\n.*stick-0002 /,
    );
    assert.ok(stdout.endsWith(`\nname one: nixferry show ${medium}/stick-0002\n`), stdout);
    assert.match((await nixferry(['show', `${medium}/stick-0001`])).stdout, /shipment 1/i);
    const page = temp.join('page.html');
    assert.match((await nixferry(['show', medium, '--html', page], 2)).stderr, /next: {2}name one: nixferry show/);
  });

  test('roots of one name are told apart by status, check, the read-me and import', async () => {
    await setRoots({ request: '/home/anna/web#report' }, { request: '-f /srv/a.nix -A report', scope: 'rebuild' });
    const status = await nixferry(['status']);
    assert.match(status.stdout, /report +complete +scope run +1 path .*\/home\/anna\/web#report/);
    assert.match(status.stdout, /report +complete +scope rebuild +1 path .*-f \/srv\/a.nix -A report/);
    const apart = ['report (/home/anna/web#report)', 'report (-f /srv/a.nix -A report)'];
    const check = await nixferry(['check']);
    for (const name of apart) assert.ok(check.stdout.includes(name), check.stdout);
    await pack('five', 0);
    const readMe = await readFile(temp.join('five', 'five-0001', 'READ-ME-FIRST.txt'), 'utf8');
    assert.match(readMe, /- report \(scope rebuild; .*\n {6}asked for as -f \/srv\/a.nix -A report\n/);
    const key = (await nixferry(['keys', 'show'])).stdout.trim();
    const env = toolEnvironment({ HOME: temp.path });
    const args = ['import', temp.join('five'), '--mirror', temp.join('five-mirror'), '--trust', key];
    const { stdout } = await run(nixferryCommand, args, { env });
    for (const name of apart) assert.ok(stdout.includes(`  ${name}\n`), stdout);
  });
});
