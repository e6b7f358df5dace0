import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeTempFolder, visiblePaths } from '../../test/support/shipments.ts';
import { openMirror } from '../mirror/mirror.ts';
import { parsePublicKey } from '../nix/index.ts';
import { importShipment } from './import.ts';
import { importProblem } from './import-problem.ts';

const ROOT = join(import.meta.dirname, '../..');
const EXAMPLE = join(ROOT, 'test/fixtures/shipment-format-1/plant-7-0001');
const KEY = 'office-1:iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=';

test('importShipment reads a shipment of format 1 for good', async () => {
  await using temp = await makeTempFolder();
  await using mirror = await openMirror(join(temp.folder, 'site'), { access: 'write', create: true });
  const result = await importShipment({ mirror, directories: [EXAMPLE], trust: [parsePublicKey(KEY)] });
  assert.equal(importProblem(result), undefined);
  assert.deepEqual(await visiblePaths(mirror), ['greeting-1.0', 'hello-1.0']);
  const written: unknown = JSON.parse(await readFile(join(EXAMPLE, 'manifest.json'), 'utf8'));
  assert.partialDeepStrictEqual(result.manifest, written);
});

test('docs/format.md shows the example as it is', async () => {
  const page = await readFile(join(ROOT, 'docs/format.md'), 'utf8');
  const manifest = await readFile(join(EXAMPLE, 'manifest.json'), 'utf8');
  assert.ok(page.replaceAll('\n', '').includes(manifest), 'the manifest');
  assert.ok(page.includes(await readFile(join(EXAMPLE, 'manifest.sig'), 'utf8')), 'the signature');
});
