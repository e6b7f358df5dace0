import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  forge,
  infoOf,
  makeTempFolder,
  makeTestMirror,
  makeTestRoot,
  PACK,
  SMALL_CLOSURE,
} from '../../test/support/shipments.ts';
import { NixferryError } from '../base/errors.ts';
import { openMirror } from '../mirror/mirror.ts';
import { type RootRecord, readRoots } from '../mirror/roots.ts';
import { baseNameOf } from '../nix/index.ts';
import { importShipment } from './import.ts';
import { packShipment } from './pack.ts';

async function carry(root: (known: RootRecord, libc: RootRecord['paths'][number]) => RootRecord, forged = false) {
  await using temp = await makeTempFolder();
  await using sender = await makeTestMirror(join(temp.folder, 'sender'), SMALL_CLOSURE);
  const libc = baseNameOf(infoOf(sender.paths, 'libc').storePath);
  const plain = makeTestRoot(sender.paths, 'app', ['app']);
  const result = await packShipment({
    ...PACK,
    mirror: sender.mirror,
    roots: [root(plain, libc)],
    to: join(temp.folder, 'medium'),
  });
  if (forged) {
    const stray = { kind: 'flake', name: 'x', path: `${'0'.repeat(32)}-elsewhere` };
    await forge(
      { folder: result.folder, sender: sender.mirror, result },
      {
        records: (records) =>
          records.map((record) => (record.type === 'root' ? { ...record, evaluationInputs: [stray] } : record)),
      },
    );
  }
  await using site = await openMirror(join(temp.folder, 'site'), { access: 'write', create: true });
  await importShipment({ mirror: site, directories: [result.folder], trust: [sender.mirror.publicKey] });
  const [record] = await readRoots(site);
  return { record, libc };
}

test('rootOfLine gives the site the derivations and evaluation inputs that the sender recorded', async () => {
  const { record, libc } = await carry((root, path) => ({
    ...root,
    scope: 'reconfigure',
    targets: [
      { derivation: path, outputs: ['out'] },
      { variant: 'fish', derivation: path, outputs: ['out', 'dev'] },
    ],
    evaluationInputs: [{ kind: 'flake', name: 'nixpkgs', path }],
  }));
  assert.equal(record?.scope, 'reconfigure');
  assert.deepEqual(record?.targets, [
    { derivation: libc, outputs: ['out'] },
    { variant: 'fish', derivation: libc, outputs: ['out', 'dev'] },
  ]);
  assert.deepEqual(record?.evaluationInputs, [{ kind: 'flake', name: 'nixpkgs', path: libc }]);
});

test('rootOfLine leaves the fields out where the sender has none', async () => {
  const { record } = await carry((root) => root);
  assert.equal(record === undefined || 'targets' in record || 'evaluationInputs' in record, false);
});

test('importShipment refuses a root whose evaluation input is not among its paths', async () => {
  await assert.rejects(
    carry((root) => root, true),
    (error) => error instanceof NixferryError && error.code === 'damage',
  );
});
