import { hash } from 'node:crypto';
import { NixferryError } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { readRehearsalLog, writeRehearsal } from '../mirror/rehearsals.ts';
import type { Manifest, ManifestRehearsal } from './manifest.ts';
import { explainReadError } from './medium-error.ts';
import { type FoundShipment, findBeside } from './read-shipment.ts';

/**
 * Keeps the logs of the sender's rehearsals in the mirror, those that are what the manifest says. They prove nothing to a program, so one that is
 * missing or damaged stops nobody; gives the names of those. Of a shipment on discs, the logs are on the first one.
 */
export async function keepRehearsals(mirror: Mirror, shipment: FoundShipment, manifest: Manifest): Promise<string[]> {
  const lacking: string[] = [];
  for (const stated of manifest.rehearsals ?? []) {
    if ((await readRehearsalLog(mirror, stated.sha256)) !== undefined) continue;
    const log = await readLog(shipment, stated);
    if (log === undefined) {
      lacking.push(stated.name);
      continue;
    }
    const roots = stated.roots.flatMap((position) => manifest.roots[position] ?? []);
    await writeRehearsal(mirror, log, {
      verdict: stated.verdict,
      nix: stated.nix,
      generator: manifest.generator,
      ended: manifest.created,
      roots: roots.map(({ name, request, scope, digest }) => ({ name, request, scope, digest })),
    });
  }
  return lacking;
}

async function readLog(shipment: FoundShipment, stated: ManifestRehearsal): Promise<Buffer | undefined> {
  for (const file of await findBeside(shipment, stated.name)) {
    try {
      const bytes = await readFileIfExists(file, LIMITS.rehearsalLogBytes);
      if (bytes !== undefined && hash('sha256', bytes) === stated.sha256) return bytes;
    } catch (error) {
      // Too long, no file, or a bad block: another copy may be good.
      const explained = explainReadError(error, file);
      if (!(explained instanceof NixferryError)) throw error;
    }
  }
  return undefined;
}
