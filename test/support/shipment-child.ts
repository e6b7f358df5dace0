// Run by 03-killed-in-the-middle.test.ts as a process of its own, to be killed: packs or imports, and says so at each step.
import { writeSync } from 'node:fs';
import { openMirror } from '../../src/mirror/mirror.ts';
import { readRoots } from '../../src/mirror/roots.ts';
import { parsePublicKey } from '../../src/nix/index.ts';
import { importShipment } from '../../src/shipment/import.ts';
import { packShipment } from '../../src/shipment/pack.ts';
import { PACK } from './shipments.ts';

const [what, directory = '', medium = '', key = ''] = process.argv.slice(2);
const onProgress = (): void => void writeSync(1, '.');

await using mirror = await openMirror(directory, { access: 'write', create: true, keyName: 'site-1' });
if (what === 'pack') {
  const roots = await readRoots(mirror);
  await packShipment({ ...PACK, mirror, roots, to: medium, volumeSizeBytes: 20_000, onProgress });
} else {
  await importShipment({ mirror, directories: [medium], trust: [parsePublicKey(key)], onProgress });
}
writeSync(1, 'done');
