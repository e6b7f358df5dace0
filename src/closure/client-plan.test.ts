import assert from 'node:assert/strict';
import { beforeEach, suite, test } from 'node:test';
import { type FakeDerivation, FakeDerivations } from '../../test/support/fake-derivations.ts';
import { fakeStorePath } from '../../test/support/fake-paths.ts';
import { nameOf, type StorePath } from '../nix/store-path.ts';
import { type ClientPlan, type ClientPlanInputs, type OfferedPath, planClient } from './client-plan.ts';
import { loadDerivationGraph } from './derivation-graph.ts';

/** `top` is built by clients from `text` (likewise) and from `kmod-dev`; kmod could be built from `compiler` and its source. */
suite('planClient', () => {
  let drvs: FakeDerivations;
  let offered: Map<StorePath, OfferedPath>;
  let source: FakeDerivation;
  let compiler: FakeDerivation;
  let kmod: FakeDerivation;
  let text: FakeDerivation;
  let top: FakeDerivation;
  const builder = fakeStorePath('builder.sh');
  const own = { allowSubstitutes: '' };

  beforeEach(() => {
    drvs = new FakeDerivations();
    offered = new Map();
    source = drvs.add('source', { kind: 'fixed' });
    compiler = drvs.add('compiler', { inputs: [source] });
    kmod = drvs.add('kmod', { inputs: [compiler, source], outputs: ['out', 'dev'] });
    text = drvs.add('text', { inputs: [compiler], env: own, sources: [builder] });
    top = drvs.add('top', { inputs: [text, [kmod, 'dev']], env: own });
    for (const path of [compiler.out, kmod.outputs['dev'], builder]) offer(path);
  });

  function offer(path: StorePath | undefined, references: readonly StorePath[] = [], signatureCounts = true): void {
    offered.set(path as StorePath, { references, signatureCounts });
  }

  async function plan(target: FakeDerivation, options: Partial<ClientPlanInputs> = {}): Promise<ClientPlan> {
    const graph = await loadDerivationGraph({ roots: [target.drvPath], read: drvs.read, storeDir: '/nix/store' });
    return planClient({
      graph,
      targets: [{ drvPath: target.drvPath, outputs: ['out'] }],
      find: async (path) => offered.get(path),
      ...options,
    });
  }

  test('says what is built and fetched when nothing is missing', async () => {
    const { builds, fetches, unknown, missing, unsigned } = await plan(top);
    assert.deepEqual(namesOf(builds), ['text.drv', 'top.drv']);
    assert.deepEqual(namesOf(fetches), ['builder.sh', 'compiler', 'kmod-dev']);
    assert.deepEqual([unknown, missing, unsigned], [[], [], []]);
  });

  test('fetches what a client must otherwise build when its setting allows that', async () => {
    offer(top.out);
    assert.deepEqual(namesOf((await plan(top)).fetches), ['builder.sh', 'compiler', 'kmod-dev']);
    const { builds, fetches } = await plan(top, { alwaysAllowSubstitutes: true });
    assert.deepEqual([builds, namesOf(fetches)], [[], ['top']]);
  });

  test('names a missing output, not the sources that it could be made from', async () => {
    offered.delete(kmod.outputs['dev'] as StorePath);
    const { missing, builds } = await plan(top);
    assert.deepEqual(missing, [
      {
        path: kmod.outputs['dev'],
        kind: 'output',
        derivation: kmod.drvPath,
        chain: [top.drvPath],
        lacks: [source.out],
        isUnsigned: false,
      },
    ]);
    // As Nix says: it would run the fetcher.
    assert.deepEqual(namesOf(builds), ['kmod.drv', 'source.drv', 'text.drv', 'top.drv']);
  });

  test('is content when a missing output can be built from what is there', async () => {
    offered.delete(kmod.outputs['dev'] as StorePath);
    offer(source.out);
    const { missing, builds } = await plan(top);
    assert.deepEqual(missing, []);
    assert.ok(builds.includes(kmod.drvPath));
  });

  test('names what was expected rather than what it would be built into', async () => {
    const library = drvs.add('library', { inputs: [[kmod, 'dev']] });
    const program = drvs.add('program', { inputs: [library], env: own });
    offered.delete(kmod.outputs['dev'] as StorePath);
    const namesMissing = async (isExpected?: (path: StorePath) => boolean) =>
      (await plan(program, { isExpected })).missing.map(({ path, chain }) => [nameOf(path), namesOf(chain)]);
    assert.deepEqual(await namesMissing(), [['library', ['program.drv']]]);
    assert.deepEqual(await namesMissing((path) => path === kmod.outputs['dev']), [
      ['kmod-dev', ['library.drv', 'program.drv']],
    ]);
  });

  test('looks into a target that nobody has', async () => {
    const tool = drvs.add('tool', { inputs: [[kmod, 'dev']] });
    offered.delete(kmod.outputs['dev'] as StorePath);
    const { missing } = await plan(tool);
    assert.deepEqual(
      missing.map(({ path, chain }) => [nameOf(path), namesOf(chain)]),
      [['kmod-dev', ['tool.drv']]],
    );
  });

  test('names a missing source of what clients build, and a missing input source', async () => {
    const patched = drvs.add('patched', {
      inputs: [source, compiler],
      env: own,
      sources: [fakeStorePath('fix.patch')],
    });
    const { missing } = await plan(patched);
    assert.deepEqual(missing.map(({ path, kind, chain }) => [nameOf(path), kind, namesOf(chain)]).toSorted(), [
      ['fix.patch', 'path', ['patched.drv']],
      ['source', 'fixed-output', ['patched.drv']],
    ]);
  });

  test('names a missing reference with the paths that lead to it', async () => {
    const [middle, lost] = [fakeStorePath('middle'), fakeStorePath('lost')];
    offer(compiler.out, [compiler.out, middle]);
    offer(middle, [lost]);
    const { missing, unknown } = await plan(top);
    assert.deepEqual(unknown, [lost]);
    assert.deepEqual(
      missing.map(({ path, kind, chain }) => [nameOf(path), kind, chain.map(nameOf)]),
      [['lost', 'path', ['top.drv', 'text.drv', 'compiler', 'middle']]],
    );
  });

  test('takes a path without a signature that counts for one that is not there, and says so', async () => {
    offer(kmod.outputs['dev'], [], false);
    const lacking = await plan(top);
    assert.deepEqual(lacking.unsigned, [kmod.outputs['dev']]);
    assert.deepEqual(
      lacking.missing.map(({ path, isUnsigned }) => [path, isUnsigned]),
      [[kmod.outputs['dev'], true]],
    );
    offer(source.out);
    const building = await plan(top);
    assert.deepEqual(building.missing, []);
    assert.ok(building.builds.includes(kmod.drvPath));
  });

  test('leaves alone what the client has', async () => {
    offered.clear();
    const { builds, fetches, missing } = await plan(top, {
      isPresent: (path) => [kmod.outputs['dev'], compiler.out, builder].includes(path),
    });
    assert.deepEqual([namesOf(builds), fetches, missing], [['text.drv', 'top.drv'], [], []]);
  });

  test('names .drv files that are not there, and paths that were asked for themselves', async () => {
    drvs.files.delete(text.drvPath);
    const { missing } = await plan(top, { paths: [fakeStorePath('input'), builder] });
    assert.deepEqual(
      missing.map(({ path, kind, chain }) => [nameOf(path), kind, namesOf(chain)]),
      [
        ['input', 'path', []],
        ['text.drv', 'derivation', ['top.drv']],
      ],
    );
  });

  test('says that a fixed output cannot be had when its derivation forbids caches', async () => {
    const bought = drvs.add('bought', { kind: 'fixed', env: own });
    const game = drvs.add('game', { inputs: [bought], env: own });
    offer(bought.out);
    assert.deepEqual(
      (await plan(game)).missing.map(({ path, kind }) => [path, kind]),
      [[bought.out, 'fixed-output']],
    );
    assert.deepEqual((await plan(game, { alwaysAllowSubstitutes: true })).missing, []);
  });

  test('tells who wants a path, and nothing of one that nobody does', async () => {
    const { chainOf } = await plan(top);
    assert.deepEqual(chainOf(compiler.out), [top.drvPath, text.drvPath]);
    assert.deepEqual(chainOf(kmod.outputs['dev'] as StorePath), [top.drvPath]);
    assert.equal(chainOf(source.out), undefined);
  });

  test('holds its own in a deep and wide graph of which all is missing', async () => {
    let layer = [drvs.add('bottom', { kind: 'fixed' })];
    for (let depth = 0; depth < 300; depth += 1) {
      layer = Array.from({ length: 5 }, (_, index) => drvs.add(`d${depth}-${index}`, { inputs: layer, env: own }));
    }
    const { missing, builds } = await plan(drvs.add('deep', { inputs: layer, env: own }));
    assert.deepEqual(
      missing.map(({ path }) => nameOf(path)),
      ['bottom'],
    );
    assert.equal(missing[0]?.chain.length, 301);
    assert.equal(builds.length, 1502);
  });
});

function namesOf(paths: Iterable<StorePath>): string[] {
  return [...paths].map((path) => nameOf(path)).toSorted();
}
