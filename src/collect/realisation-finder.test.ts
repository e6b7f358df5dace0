import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeTestMirror } from '../../test/support/shipments.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { NixferryError } from '../base/errors.ts';
import type { ProgressEvent } from '../base/progress.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { type NamedRealisation, publishRealisations } from '../mirror/publish-realisations.ts';
import {
  generateSecretKey,
  hashBytes,
  makeOutputPath,
  publicKeyOf,
  type StorePath,
  type StorePathBaseName,
} from '../nix/index.ts';
import {
  formatRealisation,
  formatRealisationPath,
  type Realisation,
  type RealisationKey,
  signRealisation,
} from '../nix/realisation.ts';
import { RealisationFinder, type RealisationSource } from './realisation-finder.ts';

const STORE = '/nix/store';
const trusted = generateSecretKey('cache-1');
const stranger = generateSecretKey('stranger-1');

const keyOf = (name: string): RealisationKey => ({
  layout: 'realisations',
  derivationHash: hashBytes('sha256', name),
  outputName: 'out',
});
const newKeyOf = (name: string): RealisationKey => ({
  layout: 'build-trace-v2',
  derivation: `${'a'.repeat(32)}-${name}.drv` as StorePathBaseName,
  outputName: 'out',
});
const pathOf = (name: string): StorePath => makeOutputPath('out', hashBytes('sha256', name), name, STORE);
const baseNameOf = (name: string) => pathOf(name).slice(STORE.length + 1) as StorePathBaseName;

function realisation(
  key: RealisationKey,
  name: string,
  dependsOn: readonly string[] = [],
  signer = trusted,
): Realisation {
  const dependencies = new Map(
    dependsOn.map((one) => [formatRealisationPath(keyOf(one)).slice('realisations/'.length, -4), baseNameOf(one)]),
  );
  return signRealisation({ key, outPath: baseNameOf(name), signatures: [], dependencies }, signer);
}

function cacheOf(...realisations: readonly Realisation[]): RealisationSource & { readonly asked: string[] } {
  const files = new Map(realisations.map((one) => [formatRealisationPath(one.key), formatRealisation(one)]));
  const asked: string[] = [];
  return {
    url: 'https://cache.example',
    asked,
    file: async (name) => {
      asked.push(name);
      const text = files.get(name);
      return text === undefined ? undefined : Buffer.from(text);
    },
  };
}

function finderFor(upstreams: readonly RealisationSource[], mirror?: Mirror, events: ProgressEvent[] = []) {
  return new RealisationFinder({
    mirror,
    upstreams,
    trustedKeys: [publicKeyOf(trusted)],
    storeDir: STORE,
    onProgress: (event) => events.push(event),
    signal: new AbortController().signal,
  });
}

test('RealisationFinder believes the first cache that a trusted key vouches for, and asks each once', async () => {
  const liar = cacheOf(realisation(keyOf('tool'), 'forged', [], stranger));
  const honest = cacheOf(realisation(keyOf('tool'), 'tool'));
  const finder = finderFor([liar, honest]);
  assert.equal(await finder.find([keyOf('tool')]), pathOf('tool'));
  assert.equal(await finder.find([keyOf('tool')]), pathOf('tool'));
  assert.deepEqual([liar.asked.length, honest.asked.length], [1, 1]);
  assert.deepEqual([finder.isRealised(pathOf('tool')), finder.isRealised(pathOf('forged'))], [true, false]);
  assert.equal(await finderFor([liar]).find([keyOf('tool')]), undefined);
});

test('RealisationFinder knows no output of which a realisation that it depends on is lacking, or says something else', async () => {
  const tool = realisation(keyOf('tool'), 'tool', ['library']);
  const library = realisation(keyOf('library'), 'library');
  assert.equal(await finderFor([cacheOf(tool)]).find([keyOf('tool')]), undefined);
  const other = realisation(keyOf('library'), 'other');
  assert.equal(await finderFor([cacheOf(tool, other)]).find([keyOf('tool')]), undefined);
  const finder = finderFor([cacheOf(tool), cacheOf(library)]);
  assert.equal(await finder.find([keyOf('tool')]), pathOf('tool'));
  assert.deepEqual(namesOf(await finder.filesFor([keyOf('tool')], pathOf('tool'))), [
    formatRealisationPath(keyOf('library')),
    formatRealisationPath(keyOf('tool')),
  ]);
});

test('RealisationFinder gives the files of both layouts that lead to the same path, and of no other', async () => {
  const keys = [keyOf('tool'), newKeyOf('tool')];
  const agreeing = finderFor([cacheOf(...keys.map((key) => realisation(key, 'tool')))]);
  assert.equal((await agreeing.filesFor(keys, pathOf('tool'))).length, 2);
  const split = finderFor([cacheOf(realisation(newKeyOf('tool'), 'other'), realisation(keyOf('tool'), 'tool'))]);
  assert.equal(await split.find(keys), pathOf('tool'));
  assert.deepEqual(namesOf(await split.filesFor(keys, pathOf('tool'))), [formatRealisationPath(keyOf('tool'))]);
});

test('RealisationFinder says once of a cache that it cannot be asked, and goes on with the next', async () => {
  const broken: RealisationSource = {
    url: 'https://broken.example',
    file: () => Promise.reject(new NixferryError('upstream-unreachable', 'broken.example does not answer')),
  };
  const events: ProgressEvent[] = [];
  const both = ['tool', 'library'].map((name) => realisation(keyOf(name), name));
  const finder = finderFor([broken, cacheOf(...both)], undefined, events);
  assert.equal(await finder.find([keyOf('tool')]), pathOf('tool'));
  assert.equal(await finder.find([keyOf('library')]), pathOf('library'));
  assert.equal(events.length, 1);
  assert.match(JSON.stringify(events), /broken\.example does not answer; .* clients will build them/);
});

test('RealisationFinder believes what the mirror says without asking anybody', async () => {
  await using temp = await makeTempDir('realisations');
  await using made = await makeTestMirror(temp.join('mirror'), [{ name: 'tool', contents: Buffer.from('the tool') }]);
  const { mirror, paths } = made;
  const outPath = (paths.get('tool')?.storePath ?? '').slice(STORE.length + 1) as StorePathBaseName;
  const key = keyOf('tool');
  const said = { key, outPath, signatures: [], dependencies: new Map() };
  await publishRealisations(mirror, [{ name: formatRealisationPath(key), realisation: said }]);
  assert.equal(await finderFor([], mirror).find([key]), paths.get('tool')?.storePath);
});

function namesOf(files: readonly NamedRealisation[]): string[] {
  return files.map(({ name }) => name);
}
