import assert from 'node:assert/strict';
import { beforeEach, suite, test } from 'node:test';
import { type FakeDerivation, FakeDerivations } from '../../test/support/fake-derivations.ts';
import { fakeStorePath } from '../../test/support/fake-paths.ts';
import { nameOf, type StorePath } from '../nix/store-path.ts';
import { loadDerivationGraph } from './derivation-graph.ts';
import { computeScopes, type KnownPath, type ScopeInputs } from './scopes.ts';

/** Who has which paths: a public cache, or only the store of this machine. */
class World {
  readonly drvs = new FakeDerivations();
  readonly known = new Map<StorePath, KnownPath>();

  public(path: StorePath | undefined, references: readonly StorePath[] = []): void {
    this.known.set(path as StorePath, { references, substitutable: true });
  }

  local(path: StorePath | undefined, references: readonly StorePath[] = []): void {
    this.known.set(path as StorePath, { references, substitutable: false });
  }

  async scopes(target: FakeDerivation, options: Partial<ScopeInputs> = {}) {
    const targets = options.targets ?? [{ drvPath: target.drvPath, outputs: ['out'] }];
    const roots = targets.map(({ drvPath }) => drvPath);
    const graph = await loadDerivationGraph({ roots, read: this.drvs.read, storeDir: '/nix/store' });
    const closures = await computeScopes({
      graph,
      paths: [],
      evaluationInputs: [],
      find: async (path) => this.known.get(path),
      withDerivations: false,
      sourcesOnly: false,
      ...options,
      targets,
    });
    return {
      closures,
      names: {
        run: namesOf(closures.run.paths.keys()),
        reconfigure: namesOf(closures.reconfigure.paths.keys()),
        rebuild: namesOf(closures.rebuild.paths.keys()),
      },
    };
  }
}

/**
 * A system in small: `top` is built by clients, from `text` (likewise), from `hello` and from `kmod`, of which it wants `dev`; a public cache has
 * what compilers make.
 */
suite('computeScopes', () => {
  let world: World;
  let source: FakeDerivation;
  let compiler: FakeDerivation;
  let kmod: FakeDerivation;
  let hello: FakeDerivation;
  let text: FakeDerivation;
  let top: FakeDerivation;
  const builder = fakeStorePath('builder.sh');
  const own = { allowSubstitutes: '' };

  beforeEach(() => {
    world = new World();
    const { drvs } = world;
    source = drvs.add('source', { kind: 'fixed' });
    compiler = drvs.add('compiler', { inputs: [source] });
    kmod = drvs.add('kmod', {
      inputs: [compiler, source],
      outputs: ['out', 'dev'],
      sources: [fakeStorePath('kmod.patch')],
    });
    hello = drvs.add('hello', { inputs: [compiler, source] });
    text = drvs.add('text', { inputs: [compiler], env: own, sources: [builder] });
    top = drvs.add('top', { inputs: [text, hello, [kmod, 'dev']], env: own });
    world.public(source.out);
    world.public(compiler.out);
    world.public(kmod.out);
    world.public(kmod.outputs['dev'], [kmod.out]);
    world.public(hello.out);
    world.local(builder);
    world.local(fakeStorePath('kmod.patch'));
    world.local(text.out);
    world.local(top.out, [text.out, hello.out]);
    for (const drvPath of drvs.files.keys()) world.local(drvPath);
  });

  test('carries at run what the outputs of the root refer to, also what was built here', async () => {
    const { names } = await world.scopes(top);
    assert.deepEqual(names.run, ['hello', 'text', 'top']);
  });

  test('carries at reconfigure the exact inputs of what clients build, and no deeper', async () => {
    const { names, closures } = await world.scopes(top);
    // hello and compiler are had from the cache, so what they are built from is not carried; kmod comes along, as kmod-dev refers to it.
    assert.deepEqual(names.reconfigure, ['builder.sh', 'compiler', 'hello', 'kmod', 'kmod-dev', 'text', 'top']);
    assert.deepEqual(namesOf(closures.reconfigure.built.keys()), ['text.drv', 'top.drv']);
    assert.deepEqual(closures.reconfigure.missing, []);
  });

  test('says why each path is carried, and who wants it first', async () => {
    const { closures } = await world.scopes(top);
    const reasonOf = (path: StorePath | undefined) => closures.reconfigure.paths.get(path as StorePath);
    assert.deepEqual(reasonOf(hello.out), { kind: 'runtime', wantedBy: top.out });
    assert.deepEqual(reasonOf(kmod.outputs['dev']), { kind: 'build-input', wantedBy: top.drvPath });
    assert.deepEqual(reasonOf(builder), { kind: 'input-source', wantedBy: text.drvPath });
  });

  test('carries at rebuild all sources, and what carried packages were built from', async () => {
    const { names } = await world.scopes(top);
    const besides = names.rebuild.filter((name) => !names.reconfigure.includes(name));
    assert.deepEqual(besides, ['kmod.patch', 'source']);
    const { names: slim } = await world.scopes(top, { sourcesOnly: true });
    assert.deepEqual(
      slim.rebuild.filter((name) => !slim.reconfigure.includes(name)),
      ['source'],
    );
  });

  test('goes one level deep for carried packages', async () => {
    const tool = world.drvs.add('tool', { inputs: [source] });
    const library = world.drvs.add('library', { inputs: [tool] });
    const program = world.drvs.add('program', { inputs: [library] });
    for (const { out } of [tool, library, program]) world.public(out);
    const { names } = await world.scopes(program);
    assert.deepEqual(names.reconfigure, ['program']);
    assert.deepEqual(names.rebuild, ['library', 'program', 'source']);
  });

  test('carries the .drv files and their sources with all that is changed', async () => {
    const { names } = await world.scopes(top, { withDerivations: true });
    const drvNames = ['compiler.drv', 'hello.drv', 'kmod.drv', 'source.drv', 'text.drv', 'top.drv'];
    assert.deepEqual(
      names.reconfigure.filter((name) => name.endsWith('.drv')),
      drvNames,
    );
    assert.ok(names.reconfigure.includes('kmod.patch'));
    assert.ok(!names.run.some((name) => name.endsWith('.drv')));
  });

  test('wants the root built at run only, and says what is not there', async () => {
    world.known.delete(top.out);
    const { closures, names } = await world.scopes(top);
    assert.deepEqual(closures.run.missing, [{ path: top.out, kind: 'path', derivation: undefined, chain: [] }]);
    assert.deepEqual(closures.reconfigure.missing, []);
    assert.deepEqual(names.reconfigure, ['builder.sh', 'compiler', 'hello', 'kmod', 'kmod-dev']);
  });

  test('looks through what only this machine has built, as through what nobody has', async () => {
    world.local(hello.out);
    const { names } = await world.scopes(top);
    assert.ok(names.reconfigure.includes('source'));
    world.known.delete(hello.out);
    world.local(top.out, [text.out]);
    const { names: without, closures } = await world.scopes(top);
    assert.ok(without.reconfigure.includes('source'));
    assert.ok(!without.reconfigure.includes('hello'));
    assert.deepEqual(namesOf(closures.reconfigure.built.keys()), ['hello.drv', 'text.drv', 'top.drv']);
  });

  test('builds where one of several wanted outputs is absent', async () => {
    world.known.delete(kmod.outputs['dev'] as StorePath);
    const { names, closures } = await world.scopes(top);
    assert.ok(namesOf(closures.reconfigure.built.keys()).includes('kmod.drv'));
    assert.deepEqual(
      names.reconfigure.filter((name) => name.startsWith('kmod') || name === 'source'),
      ['kmod.patch', 'source'],
    );
  });

  test('builds where a cache has some of the wanted outputs only', async () => {
    const user = world.drvs.add('user', { inputs: [[kmod, 'out', 'dev']], env: own });
    assert.deepEqual(namesOf((await world.scopes(user)).closures.reconfigure.built.keys()), ['user.drv']);
    world.known.delete(kmod.outputs['dev'] as StorePath);
    const { closures } = await world.scopes(user);
    assert.deepEqual(namesOf(closures.reconfigure.built.keys()), ['kmod.drv', 'user.drv']);
  });

  test('leaves out at rebuild what fetched a source', async () => {
    const curl = world.drvs.add('curl');
    const tarball = world.drvs.add('tarball', { kind: 'fixed', inputs: [curl] });
    const program = world.drvs.add('program', { inputs: [tarball] });
    for (const { out } of [curl, tarball, program]) world.public(out);
    assert.deepEqual((await world.scopes(program)).names.rebuild, ['program', 'tarball']);
  });

  test('names a source that nobody has, with the chain of derivations that wants it', async () => {
    world.known.delete(hello.out);
    world.known.delete(source.out);
    world.local(top.out);
    const { closures } = await world.scopes(top);
    assert.deepEqual(closures.reconfigure.missing, [
      { path: source.out, kind: 'fixed-output', derivation: source.drvPath, chain: [top.drvPath, hello.drvPath] },
    ]);
  });

  test('names sources at rebuild that no build wants, by the shortest way to them', async () => {
    world.known.delete(source.out);
    const { closures } = await world.scopes(top);
    assert.deepEqual(closures.reconfigure.missing, []);
    const [missing] = closures.rebuild.missing;
    assert.equal(missing?.path, source.out);
    assert.deepEqual(missing?.chain, [top.drvPath, hello.drvPath]);
  });

  test('takes a source from wherever it is', async () => {
    world.known.delete(hello.out);
    world.local(top.out);
    world.local(source.out);
    const { closures, names } = await world.scopes(top);
    assert.deepEqual(closures.reconfigure.missing, []);
    assert.ok(names.reconfigure.includes('source'));
  });

  test('carries for a variant what it builds, but not the variant itself', async () => {
    const fish = world.drvs.add('fish', { inputs: [source] });
    const changed = world.drvs.add('changed', { inputs: [text, fish], env: own });
    world.public(fish.out);
    world.local(changed.out, [fish.out]);
    const variant = { drvPath: changed.drvPath, outputs: ['out'], variant: 'programs.fish.enable = true;' };
    const { names } = await world.scopes(top, { targets: [{ drvPath: top.drvPath, outputs: ['out'] }, variant] });
    assert.ok(!names.run.includes('fish'));
    assert.ok(names.reconfigure.includes('fish'));
    assert.ok(!names.reconfigure.includes('changed'));
  });

  test('carries what evaluation reads from reconfigure on, with what it refers to', async () => {
    const [input, inner] = [fakeStorePath('nixpkgs-source'), fakeStorePath('inner')];
    world.local(input, [inner]);
    world.local(inner);
    const { names, closures } = await world.scopes(top, { evaluationInputs: [input, fakeStorePath('lost')] });
    assert.ok(names.reconfigure.includes('inner') && !names.run.includes('inner'));
    assert.deepEqual(
      closures.reconfigure.missing.map(({ path, chain }) => [nameOf(path), chain]),
      [['lost', []]],
    );
  });

  test('builds floating derivations unless a cache says what they are', async () => {
    const floating = world.drvs.add('floating', { kind: 'floating', inputs: [compiler] });
    const user = world.drvs.add('user', { inputs: [floating], env: own });
    const result = fakeStorePath('floating-result');
    world.public(result);
    const built = await world.scopes(user);
    assert.deepEqual(namesOf(built.closures.reconfigure.built.keys()), ['floating.drv', 'user.drv']);
    assert.deepEqual(built.names.reconfigure, ['compiler']);
    const known = await world.scopes(user, {
      realisation: async (drvPath) => (drvPath === floating.drvPath ? result : undefined),
    });
    assert.deepEqual(known.names.reconfigure, ['floating-result']);
    assert.deepEqual(known.closures.reconfigure.realised, [
      { drvPath: floating.drvPath, outputName: 'out', path: result },
    ]);
  });

  test('builds impure derivations, and names .drv files that cannot be read', async () => {
    const impure = world.drvs.add('impure', { kind: 'impure', inputs: [compiler] });
    const lost = world.drvs.add('lost');
    const user = world.drvs.add('user', { inputs: [impure, lost], env: own });
    world.drvs.files.delete(lost.drvPath);
    const { closures } = await world.scopes(user);
    assert.ok(closures.reconfigure.built.has(impure.drvPath));
    assert.deepEqual(closures.reconfigure.missing, [
      { path: lost.drvPath, kind: 'derivation', derivation: undefined, chain: [user.drvPath] },
    ]);
  });

  test('asks for each path once, however many scopes are wanted', async () => {
    const asked: string[] = [];
    await world.scopes(top, {
      find: async (path) => {
        asked.push(path);
        return world.known.get(path);
      },
    });
    assert.equal(new Set(asked).size, asked.length);
  });

  test('works out only the scopes that are asked for', async () => {
    const graph = await loadDerivationGraph({ roots: [top.drvPath], read: world.drvs.read, storeDir: '/nix/store' });
    const asked: StorePath[] = [];
    const closures = await computeScopes({
      graph,
      targets: [{ drvPath: top.drvPath, outputs: ['out'] }],
      paths: [],
      evaluationInputs: [],
      scopes: ['run'],
      find: async (path) => {
        asked.push(path);
        return world.known.get(path);
      },
      withDerivations: true,
      sourcesOnly: false,
    });
    assert.deepEqual(Object.keys(closures), ['run']);
    assert.deepEqual(namesOf(asked), ['hello', 'text', 'top']);
  });

  test('throws what asking throws, and stops when it is aborted', async () => {
    const fails = world.scopes(top, { find: () => Promise.reject(new Error('the upstream is down')) });
    await assert.rejects(fails, /the upstream is down/);
    const controller = new AbortController();
    const aborted = world.scopes(top, {
      signal: controller.signal,
      find: async (path) => {
        controller.abort(new Error('enough'));
        return world.known.get(path);
      },
    });
    await assert.rejects(aborted, /enough/);
  });
});

function namesOf(paths: Iterable<StorePath>): string[] {
  return [...paths].map((path) => nameOf(path)).toSorted();
}
