import { printable, printableUpTo } from '../../base/printable.ts';
import { formatPublicKey } from '../../nix/index.ts';
import { formatSize } from '../format-size.ts';
import type { DescribedRoot, ShipmentDescription } from './shipment-description.ts';
import type { SignatureState } from './signature-state.ts';

// What text and page have in common: the same words in the same order. All of it is printable; the page still escapes it for HTML.

/** A label and what belongs to it. */
export type Fact = readonly [label: string, value: string];

/** The state of the signature for somebody who must decide: a verdict in a line, and what to compare or to do. */
export interface SignatureWords {
  readonly isVerified: boolean;
  readonly verdict: string;
  readonly facts: readonly Fact[];
  readonly advice: string | undefined;
}

export function signatureWords(signature: SignatureState, folder: string): SignatureWords {
  if (signature.kind === 'broken') {
    return {
      isVerified: false,
      verdict: 'NOT VERIFIED: the signature is missing or does not hold',
      facts: [],
      advice:
        'The manifest or manifest.sig was changed or damaged. Believe nothing of what follows; take another copy.',
    };
  }
  const key = formatPublicKey(signature.key);
  const facts: Fact[] = [
    ['key', printable(key)],
    ['in words', signature.words.join(' ')],
  ];
  switch (signature.kind) {
    case 'verified':
      return {
        isVerified: true,
        verdict: 'verified: signed by a sender who is trusted here',
        facts,
        advice: undefined,
      };
    case 'unknown-sender':
      return {
        isVerified: false,
        verdict: 'NOT VERIFIED: signed by a key that is not trusted here',
        facts,
        advice: `Compare the words with the sender by telephone or on paper. If they agree: nixferry show ${printable(folder)} --trust '${printable(key)}'`,
      };
    case 'other-key':
      return {
        isVerified: false,
        verdict: `NOT VERIFIED: signed by another key named ${printable(signature.key.name)} than the one that is trusted here`,
        facts: [...facts, ['trusted instead', printable(formatPublicKey(signature.trusted))]],
        advice: 'Ask the sender whether the key was replaced. If it was not, somebody else made this shipment.',
      };
  }
}

/** For whom, from whom, which number, how much. */
export function shipmentFacts(description: ShipmentDescription): Fact[] {
  const { manifest, manifestSha256, packages, derivations, missingVolumes, wrongSizeVolumes } = description;
  const { totals, volumes } = manifest;
  const facts: Fact[] = [
    ['for the site', manifest.site],
    ['from', printable(manifest.sender)],
    ['number', String(manifest.sequence)],
    ['made', `${manifest.created} by the sender's clock, with ${printableUpTo(manifest.generator, 200)}`],
    ['builds on', basisWords(manifest.basis)],
    ['store folder', printable(manifest.storeDir)],
    ['roots', countWords(manifest.roots.length, 'root')],
    ['packages', `${numberWords(packages.length)} by name and version`],
    [
      'paths',
      `${numberWords(totals.pathCount)}, of which ${numberWords(derivations.pathCount)} are derivations (.drv)`,
    ],
    ['size', `${formatSize(totals.volumesSizeBytes)} on the medium, ${formatSize(totals.narSizeBytes)} unpacked`],
    ['volumes', volumeWords(volumes.length, missingVolumes, wrongSizeVolumes)],
    ['manifest', `sha256 ${manifestSha256}`],
  ];
  return facts;
}

/** What a root is called and which versions it brings. */
export function rootWords(root: DescribedRoot): { name: string; request: string; versions: string; state: string } {
  const name = printableUpTo(root.name, 200);
  const request = printableUpTo(root.request, 400);
  const shown = root.rootPaths.slice(0, ROOT_PATHS_SHOWN).map((path) => packageLabel(path));
  const more = root.rootPaths.length - shown.length;
  return {
    name,
    request: request === name ? '' : request,
    versions: [...new Set(shown)].join(', ') + (more > 0 ? `, and ${numberWords(more)} more` : ''),
    state: root.complete ? 'complete' : 'NOT complete',
  };
}

/** `hello 2.12`; the output where it is not the main one. */
export function packageLabel(path: { name: string; version: string; output?: string | undefined }): string {
  const label = path.version === '' ? printable(path.name) : `${printable(path.name)} ${printable(path.version)}`;
  return path.output === undefined || path.output === 'out' ? label : `${label} (${printable(path.output)})`;
}

/** `12,345` */
export function numberWords(value: number): string {
  return value.toLocaleString('en-US');
}

/** `1 path`, `400 paths`. */
export function countWords(count: number, noun: string): string {
  return `${numberWords(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** What reading of a shipment has not looked at, so that nobody takes this list for more than it is. */
export const NOT_LOOKED_AT =
  'This is what the sender has signed. The contents of the volumes were not read: nixferry import compares every byte with it.';

const ROOT_PATHS_SHOWN = 12;

function basisWords(basis: ShipmentDescription['manifest']['basis']): string {
  return basis === null ? 'nothing: an empty mirror can import it' : printable(JSON.stringify(basis));
}

function volumeWords(count: number, missing: readonly string[], wrongSize: readonly string[]): string {
  const problems = [
    missing.length > 0 ? `${missing.length} not here: ${shorten(missing)}` : '',
    wrongSize.length > 0 ? `${wrongSize.length} of the wrong size: ${shorten(wrongSize)}` : '',
  ].filter((text) => text !== '');
  const here = count - missing.length;
  return problems.length === 0 ? `${count}, all here` : `${count}, of which ${here} here (${problems.join('; ')})`;
}

function shorten(names: readonly string[]): string {
  return names.length <= 8 ? names.join(', ') : `${names.slice(0, 8).join(', ')} and ${names.length - 8} more`;
}
