import { NixferryError } from '../base/errors.ts';
import { shipmentName } from './format.ts';
import type { ImportResult } from './import.ts';
import type { ImportFailure } from './import-work.ts';

/**
 * What keeps an import from being whole, as the error with which a command should end; undefined when the site has everything. What could be
 * imported was imported all the same. Codes: `damage`, `not-trusted` (with `--require-origin-signature`), `import-partial`.
 */
export function importProblem(result: ImportResult): NixferryError | undefined {
  const { failures, roots, manifest } = result;
  const incomplete = roots.filter((root) => !root.complete);
  const name = shipmentName(manifest.site, manifest.sequence);
  const done = `${roots.length - incomplete.length} of ${roots.length} roots are complete`;
  const ofKind = (kind: ImportFailure['kind']): ImportFailure[] => failures.filter((failure) => failure.kind === kind);
  const damaged = ofKind('damage');
  if (damaged.length > 0) {
    return new NixferryError('damage', `${name}: ${list(damaged, describeDamage)} damaged; ${done}`, {
      hint: `check the medium (cd ${result.folder} && sha256sum --check SHA256SUMS), put a good copy of ${volumesOf(damaged)} beside the others or in a folder of its own, and name all folders: nixferry import ${result.folder} DIR`,
    });
  }
  const distrusted = ofKind('not-trusted');
  if (distrusted.length > 0) {
    return new NixferryError(
      'not-trusted',
      `${name}: no proof of origin for ${list(distrusted, describePath)}; ${done}`,
      {
        hint: 'trust the key of the upstream they came from (nixferry keys trust), or import without --require-origin-signature',
      },
    );
  }
  const refused = ofKind('refused');
  if (refused.length > 0) {
    return new NixferryError('import-partial', `${name}: ${list(refused, describePath)} refused; ${done}`, {
      hint: 'the mirror holds another build of the same path; it stays, and so does everything that refers to it',
    });
  }
  if (incomplete.length === 0) return undefined;
  const missing = volumesOf(ofKind('missing-volume'));
  return new NixferryError('import-partial', `${name}: missing ${missing}; ${done}, not ${names(incomplete)}`, {
    hint: `find ${missing}, or ask the sender for shipment ${manifest.sequence} again, and name all folders: nixferry import ${result.folder} DIR`,
  });
}

const SHOWN = 3;

function list(failures: readonly ImportFailure[], describe: (failure: ImportFailure) => string): string {
  const shown = failures.slice(0, SHOWN).map(describe).join('; ');
  return failures.length > SHOWN ? `${shown}; and ${failures.length - SHOWN} more` : shown;
}

function describeDamage({ volumes, member, path, reason }: ImportFailure): string {
  return `${volumes}: ${member}${path === undefined ? '' : ` (${path})`}: ${reason}`;
}

function describePath({ path, member, reason }: ImportFailure): string {
  return `${path ?? member} (${reason})`;
}

function volumesOf(failures: readonly ImportFailure[]): string {
  const volumes = [...new Set(failures.flatMap(({ volumes: joined }) => joined.split(' and ')))].sort();
  const shown = volumes.slice(0, 20).join(', ');
  return volumes.length > 20 ? `${shown} and ${volumes.length - 20} more` : shown;
}

function names(roots: readonly { readonly name: string }[]): string {
  const shown = roots
    .slice(0, SHOWN)
    .map(({ name }) => name)
    .join(', ');
  return roots.length > SHOWN ? `${shown} and ${roots.length - SHOWN} more` : shown;
}
