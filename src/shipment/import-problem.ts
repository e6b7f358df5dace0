import { NixferryError } from '../base/errors.ts';
import { basisProblem } from './basis-problem.ts';
import { completeRootsInWords } from './complete-roots.ts';
import { shipmentName } from './format.ts';
import type { ImportResult } from './import.ts';
import type { ImportFailure } from './import-work.ts';
import type { Manifest } from './manifest.ts';
import { volumesInWords } from './volumes-in-words.ts';

/**
 * What keeps an import from being whole, as the error with which a command should end; undefined when the site has everything, small files among it. What could be
 * imported was imported all the same. Codes: `damage`, `not-trusted` (with `--require-origin-signature`), `basis-missing`, `import-partial`.
 */
export function importProblem(result: ImportResult): NixferryError | undefined {
  const { failures, roots, manifest } = result;
  const incomplete = roots.filter((root) => !root.complete);
  const name = shipmentName(manifest.site, manifest.sequence);
  const done = completeRootsInWords(roots);
  const ofKind = (kind: ImportFailure['kind']): ImportFailure[] => failures.filter((failure) => failure.kind === kind);
  const damaged = ofKind('damage');
  if (damaged.length > 0) {
    return new NixferryError('damage', `${name} is damaged: ${list(damaged, describeDamage)}; ${done}`, {
      hint: `check the medium (cd ${result.folder} && sha256sum --check SHA256SUMS), put a good copy of ${wordsFor(manifest, damaged)} beside the others or in a folder of its own, and name all folders: nixferry import ${result.folder} DIR`,
    });
  }
  const bad = roots.flatMap(({ name: root, refused }) => (refused === undefined ? [] : [`${root}: ${refused}`]));
  if (bad.length > 0) {
    const more = bad.length > SHOWN ? `; and ${bad.length - SHOWN} more` : '';
    return new NixferryError('damage', `${name}: refused ${bad.slice(0, SHOWN).join('; ')}${more}; ${done}`, {
      hint: 'the medium is sound, what was packed is not: nothing of these repositories is shown; the sender should look at them with git fsck, and find out who made them',
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
  const basis = basisProblem(result);
  if (basis !== undefined) return basis;
  const absent = ofKind('missing-volume');
  const files = absent.filter(({ file }) => file !== undefined);
  if (incomplete.length === 0 && files.length === 0) return undefined;
  const missing = wordsFor(manifest, wanted(absent));
  const what =
    incomplete.length === 0
      ? `${done}, but not the realisations and listings that lie there: ${list(files, describeFile)}`
      : `${done}, not ${names(incomplete)}`;
  return new NixferryError('import-partial', `${name}: missing ${missing}; ${what}`, {
    hint: `bring what is missing, and name all folders: nixferry import ${result.folder} DIR${together(failures)}; if it is lost for good, have it sent again (on the connected side: nixferry pack --site ${manifest.site} --lost ${manifest.sequence} --to DIR)`,
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

function describeFile({ member }: ImportFailure): string {
  return member;
}

function volumesOf(failures: readonly ImportFailure[]): string[] {
  return failures.flatMap(({ volumes: joined }) => joined.split(' and '));
}

function wordsFor(manifest: Manifest, failures: readonly ImportFailure[]): string {
  return volumesInWords(manifest, volumesOf(failures));
}

/** What opens the stream is on the first disc, but no site lacks it: where paths or files are missing, only these count. */
function wanted(failures: readonly ImportFailure[]): readonly ImportFailure[] {
  const lacked = failures.filter(({ path, file }) => path !== undefined || file !== undefined);
  return lacked.length > 0 ? lacked : failures;
}

/** A NAR larger than a disc lies on several, and can only be read where all of them are. */
function together(failures: readonly ImportFailure[]): string {
  const split = failures.find(({ kind, isSplit }) => kind === 'missing-volume' && isSplit === true);
  return split === undefined ? '' : `; ${split.path} lies on several: copy these to folders, and name them all at once`;
}

function names(roots: readonly { readonly name: string }[]): string {
  const shown = roots
    .slice(0, SHOWN)
    .map(({ name }) => name)
    .join(', ');
  return roots.length > SHOWN ? `${shown} and ${roots.length - SHOWN} more` : shown;
}
