import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { explainWriteError, NixferryError } from '../base/errors.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { INVENTORY_FILE } from './format.ts';
import type { Manifest } from './manifest.ts';
import { explainReadError } from './medium-error.ts';
import { type FoundShipment, findInventories } from './read-shipment.ts';
import { makeQuarantine } from './received.ts';

/**
 * Copies the inventory off the medium into the quarantine, checked on the way: it is read several times, and must be the same each time, whatever
 * the medium answers. Throws `damage` when none of the copies is what the manifest says.
 */
export async function stageInventory(
  mirror: Mirror,
  shipment: FoundShipment,
  manifest: Manifest,
  signal: AbortSignal | undefined,
): Promise<string> {
  const target = join(await makeQuarantine(mirror, manifest), INVENTORY_FILE);
  await copyInventory(shipment, manifest, target, signal);
  return target;
}

/** Copies the inventory to `target`, checked against the manifest on the way. Throws `damage` when none of the copies is what it says. */
export async function copyInventory(
  shipment: FoundShipment,
  manifest: Manifest,
  target: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  let problem = new NixferryError('damage', `${INVENTORY_FILE} is missing in ${shipment.folder}`, INVENTORY_HINT);
  for (const source of await findInventories(shipment)) {
    try {
      if (await copyChecked(source, target, manifest.inventory, signal)) return;
      problem = new NixferryError('damage', `${source} is not the inventory that the sender signed`, INVENTORY_HINT);
    } catch (error) {
      if (!(error instanceof NixferryError) || error.code !== 'damage') throw error;
      problem = error;
    }
  }
  throw problem;
}

const COPY_CHUNK_BYTES = 1024 * 1024;
const INVENTORY_HINT = { hint: 'take another copy of the shipment; nothing was imported' };

async function copyChecked(
  source: string,
  target: string,
  expected: Manifest['inventory'],
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const sha256 = createHash('sha256');
  let sizeBytes = 0;
  const buffer = Buffer.allocUnsafeSlow(Math.min(COPY_CHUNK_BYTES, expected.sizeBytes + 1));
  await using input = await open(source, constants.O_RDONLY | constants.O_NONBLOCK);
  await using output = await open(target, 'w', 0o644);
  while (sizeBytes <= expected.sizeBytes) {
    signal?.throwIfAborted();
    const { bytesRead } = await input.read(buffer, 0, buffer.length, null).catch((error: unknown) => {
      throw explainReadError(error, source);
    });
    if (bytesRead === 0) break;
    sha256.update(buffer.subarray(0, bytesRead));
    sizeBytes += bytesRead;
    await output.writeFile(buffer.subarray(0, bytesRead)).catch((error: unknown) => {
      throw explainWriteError(error, target);
    });
  }
  return sizeBytes === expected.sizeBytes && sha256.digest('hex') === expected.sha256;
}
