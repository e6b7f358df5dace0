import { formatCount } from '../base/amounts.ts';
import { NixferryError } from '../base/errors.ts';
import { completeRootsInWords } from './complete-roots.ts';
import { shipmentName } from './format.ts';
import type { ImportResult } from './import.ts';
import { formatSequences } from './sequence-ranges.ts';

/** Names what a shipment builds on and the mirror lacks, from which shipment it was, and how to get it; undefined when nothing is missing. */
export function basisProblem(result: ImportResult): NixferryError | undefined {
  const { manifest, missingNeeds, roots } = result;
  if (missingNeeds.length === 0) return undefined;
  const paths = missingNeeds.length === 1 ? 'a path' : formatCount(missingNeeds.length, 'path');
  return new NixferryError(
    'basis-missing',
    `${shipmentName(manifest.site, manifest.sequence)} builds on ${paths} that this mirror does not hold: ${listNeeds(result)}; ${completeRootsInWords(roots)}`,
    { hint: hintFor(result) },
  );
}

const SHOWN = 20;

/** By the shipment that brought them, so that each stands beside what has to come again. */
function listNeeds({ missingNeeds }: ImportResult): string {
  const bySequence = new Map<number | undefined, string[]>();
  for (const { path, sequence } of missingNeeds.slice(0, SHOWN)) {
    bySequence.set(sequence, [...(bySequence.get(sequence) ?? []), path]);
  }
  const groups = [...bySequence].map(([sequence, paths]) => {
    return `${paths.join(', ')} (${sequence === undefined ? 'from elsewhere' : `from shipment ${sequence}`})`;
  });
  const more = missingNeeds.length - SHOWN;
  return more > 0 ? `${groups.join('; ')}; and ${more} more (--json lists all)` : groups.join('; ');
}

function hintFor({ manifest, missingNeeds, folder }: ImportResult): string {
  const pack = `nixferry pack --site ${manifest.site} --to DIR`;
  const again = `afterwards import this one again: nixferry import ${folder}`;
  const byReceipt = `give the sender a receipt: nixferry receipt --to DIR here; nixferry ack DIR and ${pack} there`;
  const lost = formatSequences(missingNeeds.flatMap(({ sequence }) => sequence ?? []));
  if (lost === '' || missingNeeds.some(({ sequence }) => sequence === undefined)) return `${byReceipt}; ${again}`;
  return `import shipment ${lost}; if it is lost, let the sender type: ${pack} --lost ${lost}; or ${byReceipt}; ${again}`;
}
