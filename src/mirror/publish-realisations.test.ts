import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeTestMirror } from '../../test/support/shipments.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { generateSecretKey, hashBytes, makeOutputPath, type StorePathBaseName } from '../nix/index.ts';
import {
  formatRealisation,
  formatRealisationPath,
  parseRealisation,
  type RealisationKey,
  signRealisation,
  trustedRealisationSignature,
} from '../nix/realisation.ts';
import { publishRealisations } from './publish-realisations.ts';

const STORE = '/nix/store';
const keyOf = (name: string): RealisationKey => ({
  layout: 'realisations',
  derivationHash: hashBytes('sha256', name),
  outputName: 'out',
});

async function makeMirrorWithTool(directory: string) {
  const made = await makeTestMirror(directory, [{ name: 'tool', contents: Buffer.from('the tool') }]);
  const outPath = (made.paths.get('tool')?.storePath ?? '').slice(STORE.length + 1) as StorePathBaseName;
  const key = keyOf('tool');
  const unsigned = { key, outPath, signatures: [], dependencies: new Map() };
  return { made, key, name: formatRealisationPath(key), unsigned };
}

test('publishRealisations signs what clients can follow, leaves out the rest, and writes nothing twice', async () => {
  await using temp = await makeTempDir('realisations');
  const { made, key, name, unsigned } = await makeMirrorWithTool(temp.join('mirror'));
  await using mirror = made.mirror;
  const gone = makeOutputPath('out', hashBytes('sha256', 'gone'), 'gone', STORE).slice(STORE.length + 1);
  const realisations = [
    { name, realisation: unsigned },
    {
      name: formatRealisationPath(keyOf('gone')),
      realisation: { ...unsigned, key: keyOf('gone'), outPath: gone as StorePathBaseName },
    },
  ];
  assert.equal(await publishRealisations(mirror, realisations), 1);
  assert.deepEqual(await Array.fromAsync(mirror.storage.list('realisations/')), [name]);
  const written = parseRealisation((await mirror.storage.read(name)) ?? Buffer.of(), key);
  assert.ok(trustedRealisationSignature(written, [mirror.publicKey]) !== undefined);
  assert.equal(await publishRealisations(mirror, realisations), 0);
});

test('publishRealisations leaves signatures as they are where it is not to sign', async () => {
  await using temp = await makeTempDir('realisations');
  const { made, name, unsigned } = await makeMirrorWithTool(temp.join('mirror'));
  await using mirror = made.mirror;
  const realisation = signRealisation(unsigned, generateSecretKey('upstream-1'));
  await publishRealisations(mirror, [{ name, realisation }], { sign: false });
  assert.equal((await mirror.storage.read(name))?.toString(), formatRealisation(realisation));
});
