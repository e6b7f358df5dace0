import { formatBytes, formatCount, formatNumber } from '../../base/amounts.ts';
import { printable, printableUpTo } from '../../base/printable.ts';
import { isPlainWord, quoteForShell } from '../../base/shell-word.ts';
import { formatPublicKey } from '../../nix/index.ts';
import type { Manifest } from '../manifest.ts';
import { type DescribedRoot, isDerivation, type ShipmentDescription } from './shipment-description.ts';
import type { SignatureState } from './signature-state.ts';

// What text and page have in common: the same words in the same order. All of it is printable; the page still escapes it for HTML.

/** A label and what belongs to it. */
export type Fact = readonly [label: string, value: string];

/** The state of the signature for somebody who must decide: a verdict in a line, and what to compare or to do. */
export interface SignatureWords {
  readonly isVerified: boolean;
  readonly verdict: string;
  readonly facts: readonly Fact[];
  readonly advice: { readonly text: string; readonly command?: string } | undefined;
}

export function signatureWords(signature: SignatureState, folder: string): SignatureWords {
  if (signature.kind === 'broken') {
    return {
      isVerified: false,
      verdict: 'NOT VERIFIED: the signature is missing or does not hold',
      facts: [],
      advice: {
        text: 'The manifest or manifest.sig was changed or damaged. Believe nothing of what follows; take another copy.',
      },
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
        advice: {
          text: 'Compare the words with the sender by telephone or on paper. If they agree, give the key with --trust.',
          ...(isPlainWord(key) ? { command: `nixferry show ${quoteForShell(printable(folder))} --trust ${key}` } : {}),
        },
      };
    case 'other-key':
      return {
        isVerified: false,
        verdict: `NOT VERIFIED: signed by another key named ${printable(signature.key.name)} than the one that is trusted here`,
        facts: [...facts, ['trusted instead', printable(formatPublicKey(signature.trusted))]],
        advice: {
          text: 'Ask the sender whether the key was replaced. If it was not, somebody else made this shipment.',
        },
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
    ['made', `${timeWords(manifest.created)} by the sender's clock, with ${printableUpTo(manifest.generator, 200)}`],
    ['builds on', basisWords(manifest)],
    ...deltaFacts(description),
    ['store folder', printable(manifest.storeDir)],
    ['roots', formatCount(manifest.roots.length, 'root')],
    ['packages', `${formatNumber(packages.length)} by name and version`],
    [
      'paths',
      `${formatNumber(totals.pathCount)}, derivations (.drv) among them: ${formatNumber(derivations.pathCount)}`,
    ],
    ['size', `${formatBytes(totals.volumesSizeBytes)} on the medium, ${formatBytes(totals.narSizeBytes)} unpacked`],
    ['volumes', volumeWords(volumes.length, missingVolumes, wrongSizeVolumes) + discWords(manifest)],
    ['manifest', `sha256 ${manifestSha256}`],
    ...rehearsalFacts(manifest),
  ];
  return facts;
}

/** What the sender rebuilt without a network before packing; how it ended is his word, and the log is there to read. */
function rehearsalFacts({ rehearsals = [], roots }: Manifest): Fact[] {
  return rehearsals.map(({ name, sha256, verdict, nix, roots: tried }): Fact => {
    const names = tried.slice(0, ROOT_PATHS_SHOWN).map((position) => roots[position]?.name ?? '');
    const more = tried.length > names.length ? ` and ${tried.length - names.length} more` : '';
    const what = `${names.map((root) => printableUpTo(root, 100)).join(', ')}${more}`;
    return ['rehearsed', `${what}: ${printable(verdict)}, by ${printable(nix)}; the log is ${name}, sha256 ${sha256}`];
  });
}

/** What a root is called and which versions it brings. */
export function rootWords(root: DescribedRoot): { name: string; request: string; versions: string; state: string } {
  const name = printableUpTo(root.name, 200);
  const request = printableUpTo(root.request, 400);
  const built = root.rootPaths.filter((path) => !isDerivation(path));
  const brought = built.length === 0 ? root.rootPaths : built;
  const shown = brought.slice(0, ROOT_PATHS_SHOWN).map((path) => packageLabel(path));
  const more = brought.length - shown.length;
  return {
    name,
    request: request === name ? '' : request,
    versions: [...new Set(shown)].join(', ') + (more > 0 ? `, and ${formatNumber(more)} more` : ''),
    state: root.complete ? 'complete' : 'NOT complete',
  };
}

/** `hello 2.12`; the output where it is not the main one. */
export function packageLabel(path: { name: string; version: string; output?: string | undefined }): string {
  const label = path.version === '' ? printable(path.name) : `${printable(path.name)} ${printable(path.version)}`;
  return path.output === undefined || path.output === 'out' ? label : `${label} (${printable(path.output)})`;
}

/** What reading of a shipment has not looked at, so that nobody takes this list for more than it is. */
export const NOT_LOOKED_AT =
  'This is what the sender has signed. The contents of the volumes were not read: nixferry import compares every byte with it.';

/** `2026-01-02 03:04 UTC`, from an ISO time. */
export function timeWords(isoTime: string): string {
  return `${isoTime.slice(0, 16).replace('T', ' ')} UTC`;
}

const ROOT_PATHS_SHOWN = 12;

function deltaFacts({ manifest, needs }: ShipmentDescription): Fact[] {
  const facts: Fact[] = [];
  const needBytes = needs.reduce((total, { narSizeBytes }) => total + narSizeBytes, 0);
  if (needs.length > 0) {
    facts.push([
      'needs',
      `${formatCount(needs.length, 'path')} from before, ${formatBytes(needBytes)}: not on the medium`,
    ]);
  }
  if (manifest.lost.length > 0) {
    facts.push([
      'sends again',
      `the share of ${manifest.lost.length === 1 ? 'shipment' : 'shipments'} ${shorten(manifest.lost.map(String))}`,
    ]);
  }
  return facts;
}

function basisWords({ basis, totals }: Manifest): string {
  if (basis?.type === 'receipt') return `receipt ${basis.counter} of the site, sha256 ${basis.digest}`;
  if (basis?.type === 'sequence') {
    return `all shipments up to ${basis.sequence}, which the sender takes to have arrived`;
  }
  return totals.needCount === 0 ? 'nothing: an empty mirror can import it' : 'what the site has from before';
}

function discWords({ volumes }: Manifest): string {
  const discs = new Set(volumes.flatMap(({ disc }) => (disc === undefined ? [] : [disc])));
  return discs.size === 0 ? '' : `; the whole is on ${formatCount(discs.size, 'disc')}`;
}

function volumeWords(count: number, missing: readonly string[], wrongSize: readonly string[]): string {
  if (missing.length === count) return `${formatNumber(count)}, none of them here`;
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
