import { formatBytes, formatCount, formatNumber } from '../../base/amounts.ts';
import { printable } from '../../base/printable.ts';
import type { PathDescription } from '../../mirror/describe-path.ts';
import { baseNameOf } from '../../nix/index.ts';
import type { OutputFacts } from './output-facts.ts';
import { factLines, narSha256 } from './show-text.ts';
import { type Fact } from './show-words.ts';

/** What a mirror knows of a path, for a person at a terminal; every line is printable. */
export function pathText(path: PathDescription, facts: OutputFacts | undefined): string {
  const { info } = path;
  return [
    `${info.storePath}\n`,
    factLines(pathFacts(path, facts)),
    listed('signature', path.signatures.map(signatureLine)),
    listed('root', path.roots.map(rootLine)),
    listed('reference', info.references.map(baseNameOf)),
    listed('referrer', path.referrers.map(baseNameOf), path.referrerCount),
  ].join('\n');
}

function pathFacts({ info, narFile }: PathDescription, facts: OutputFacts | undefined): Fact[] {
  const file = `${info.url}, ${info.compression}${info.fileSizeBytes === undefined ? '' : `, ${formatBytes(info.fileSizeBytes)}`}`;
  const rows: (Fact | undefined)[] = [
    ['NAR', `sha256 ${narSha256(info.narHash)}, ${formatBytes(info.narSizeBytes)}`],
    ['file', printable(narFile === 'there' ? file : `${file}: ${narFile}; type nixferry verify`)],
    info.fileHash === undefined ? undefined : ['file hash', info.fileHash],
    info.deriver === undefined ? undefined : ['deriver', info.deriver],
    info.system === undefined ? undefined : ['system', printable(info.system)],
    info.contentAddress === undefined ? undefined : ['content address', printable(info.contentAddress)],
    facts?.packageName === undefined
      ? undefined
      : ['package', printable(`${facts.packageName} ${facts.version ?? ''}`.trimEnd())],
    facts === undefined || facts.licences.length === 0
      ? undefined
      : ['licence', facts.licences.map(printable).join(', ')],
    ...[...(facts?.urls ?? []), ...(facts?.sourceUrls ?? [])].map((url): Fact => ['source', printable(url)]),
  ];
  return rows.filter((row) => row !== undefined);
}

function signatureLine({ keyName, state, key }: PathDescription['signatures'][number]): string {
  const name = printable(keyName);
  if (state === 'valid') return `${name}: valid, by ${key?.role ?? 'a known key'}`;
  if (state === 'wrong') return `${name}: WRONG: the key of that name that is known here did not make it`;
  return `${name}: not checked: no key of that name is known here`;
}

function rootLine({ root, isRootPath }: PathDescription['roots'][number]): string {
  const from =
    root.shipment === undefined
      ? 'collected'
      : `from shipment ${root.shipment.sequence} of ${printable(root.shipment.sender)}`;
  const why = isRootPath ? 'asked for itself' : 'needed by it';
  return `${printable(root.name)}: ${why}, ${from}${root.complete ? '' : ', NOT complete'}`;
}

function listed(noun: string, lines: readonly string[], count = lines.length): string {
  const more = count > lines.length ? [`  ... and ${formatNumber(count - lines.length)} more`] : [];
  return `${[count === 0 ? `no ${noun}s` : formatCount(count, noun), ...lines.map((line) => `  ${line}`), ...more].join('\n')}\n`;
}
