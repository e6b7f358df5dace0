import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeDerivations } from '../../test/support/fake-derivations.ts';
import { fakeStorePath } from '../../test/support/fake-paths.ts';
import { loadDerivationGraph } from './derivation-graph.ts';

const storeDir = '/nix/store';

test('loadDerivationGraph reads everything below the roots once, with the outputs that are wanted of each input', async () => {
  const drvs = new FakeDerivations();
  const kmod = drvs.add('kmod', { outputs: ['out', 'dev', 'lib'] });
  const shared = drvs.add('shared', { inputs: [[kmod, 'dev']] });
  const top = drvs.add('top', { inputs: [shared, [kmod, 'lib', 'dev']], sources: [fakeStorePath('src')] });
  const reads: string[] = [];
  const graph = await loadDerivationGraph({
    roots: [top.drvPath, shared.drvPath],
    read: (drvPath) => {
      reads.push(drvPath);
      return drvs.read(drvPath);
    },
    storeDir,
  });
  assert.deepEqual(reads.toSorted(), [kmod.drvPath, shared.drvPath, top.drvPath].toSorted());
  const node = graph.find(top.drvPath);
  assert.ok(node !== undefined);
  const inputs = graph
    .inputsOf(node)
    .map(({ input, outputNamesId }) => [input.drvPath, graph.outputNames.namesOf(outputNamesId)]);
  assert.deepEqual(
    new Map(inputs as [string, string[]][]),
    new Map([
      [shared.drvPath, ['out']],
      [kmod.drvPath, ['dev', 'lib']],
    ]),
  );
  assert.deepEqual(node.sources, [fakeStorePath('src')]);
  assert.deepEqual(graph.problems, []);
});

test('loadDerivationGraph goes on where a file is absent, damaged or another one', async () => {
  const drvs = new FakeDerivations();
  const absent = drvs.add('absent');
  const swapped = drvs.add('swapped');
  const broken = drvs.add('broken');
  const top = drvs.add('top', { inputs: [absent, swapped, broken] });
  drvs.files.delete(absent.drvPath);
  drvs.files.set(swapped.drvPath, drvs.files.get(top.drvPath) ?? Buffer.alloc(0));
  drvs.files.set(broken.drvPath, Buffer.from('Derive('));
  const graph = await loadDerivationGraph({ roots: [top.drvPath], read: drvs.read, storeDir });
  assert.equal(graph.find(top.drvPath)?.problem, undefined);
  assert.equal(graph.find(absent.drvPath)?.problem?.kind, 'absent');
  assert.equal(graph.find(swapped.drvPath)?.problem?.kind, 'damaged');
  assert.equal(graph.find(broken.drvPath)?.problem?.kind, 'damaged');
  assert.equal(graph.problems.length, 3);
});

const ALLOWS: readonly (readonly [Readonly<Record<string, string>>, boolean])[] = [
  [{}, true],
  [{ allowSubstitutes: '1' }, true],
  [{ allowSubstitutes: '' }, false],
  [{ allowSubstitutes: '0' }, false],
  [{ __json: '{}' }, true],
  [{ __json: '{"allowSubstitutes":false}' }, false],
  [{ __json: '{"allowSubstitutes":true}' }, true],
  // With structured attributes, what the environment says does not count.
  [{ __json: '{}', allowSubstitutes: '' }, true],
  [{ __json: '{"nested":{"allowSubstitutes":false}}' }, true],
];

for (const [env, allowed] of ALLOWS) {
  test(`loadDerivationGraph says ${allowed ? 'yes' : 'no'} to substitution when a derivation has ${JSON.stringify(env)}`, async () => {
    const drvs = new FakeDerivations();
    const { drvPath } = drvs.add('one', { env });
    const graph = await loadDerivationGraph({ roots: [drvPath], read: drvs.read, storeDir });
    assert.equal(graph.find(drvPath)?.allowsSubstitutes, allowed);
  });
}

test('loadDerivationGraph stops when it is aborted', async () => {
  const drvs = new FakeDerivations();
  const below = drvs.add('below');
  const { drvPath } = drvs.add('top', { inputs: [below] });
  const controller = new AbortController();
  const read = async (path: typeof drvPath) => {
    controller.abort(new Error('enough'));
    return drvs.read(path);
  };
  await assert.rejects(loadDerivationGraph({ roots: [drvPath], read, storeDir, signal: controller.signal }), /enough/);
});
