import { parseContentAddress } from './content-address.ts';
import { NixFormatError, quoteForMessage } from './format-error.ts';
import { formatHash, type Hash, parseHash } from './hash.ts';
import { baseNameOf, parseStorePath, type StorePath, storePathFromBaseName } from './store-path.ts';

/** What a binary cache says about one store path. Order of references and signatures is as read. */
export interface NarInfo {
  readonly storePath: StorePath;
  /** Where the NAR is: relative to the cache's own address, or absolute; may hold a query that belongs to it. */
  readonly url: string;
  /** As written; `bzip2` where the line is missing or empty, because that is what Nix takes it for. */
  readonly compression: string;
  /** Of the file as it is transferred. */
  readonly fileHash?: Hash;
  /** Of the file as it is transferred; absent where the cache does not say, or says 0. */
  readonly fileSizeBytes?: number;
  /** Of the NAR, decompressed. */
  readonly narHash: Hash;
  readonly narSizeBytes: number;
  readonly references: readonly StorePath[];
  readonly deriver?: StorePath;
  readonly system?: string;
  /** `keyName:base64` as written, well-formed or not. */
  readonly signatures: readonly string[];
  /** Reads with parseContentAddress. */
  readonly contentAddress?: string;
}

/**
 * Reads a narinfo. Whatever real Nix calls corrupt is refused; so are carriage returns, NULs, repeated single fields and lines
 * without a colon, which Nix reads in ways that nobody means, and more than 1000 signatures.
 * Unknown fields are skipped. (Nix: nar-info.cc)
 * @param data text, or bytes that must be UTF-8
 * @throws NixFormatError
 */
export function parseNarInfo(data: string | Uint8Array, storeDir: string): NarInfo {
  const text = typeof data === 'string' ? data : decodeText(data);
  const draft: NarInfoDraft = { signatures: new Set(), seen: 0 };
  let lineStart = 0;
  while (lineStart < text.length) {
    const lineEnd = text.indexOf('\n', lineStart);
    if (lineEnd === -1) throw corrupt('the last line does not end with a line break', lineStart);
    const colon = text.indexOf(':', lineStart);
    if (colon === -1 || colon > lineEnd) throw corrupt('a line has no colon', lineStart);
    // The value begins two bytes after the colon, whatever the byte between is; Nix would take a line break for it.
    if (colon + 1 >= lineEnd) throw corrupt('a value does not begin two bytes after its colon', colon);
    readField(draft, text.slice(lineStart, colon), text.slice(colon + 2, lineEnd), storeDir, lineStart);
    lineStart = lineEnd + 1;
  }
  if (text.includes('\r') || text.includes('\0')) throw corrupt('it holds a carriage return or a NUL', 0);
  return finish(draft, text.length);
}

/**
 * Writes a narinfo as Nix does: its order of fields, hashes in nix32. What Nix wrote comes out byte for byte.
 * @throws NixFormatError when a text in it would break its line.
 */
export function formatNarInfo(info: NarInfo): string {
  let text = `StorePath: ${info.storePath}\nURL: ${line(info.url)}\nCompression: ${line(info.compression)}\n`;
  if (info.fileHash !== undefined) text += `FileHash: ${formatHash(info.fileHash, 'nix32')}\n`;
  if (info.fileSizeBytes !== undefined) text += `FileSize: ${info.fileSizeBytes}\n`;
  text += `NarHash: ${formatHash(info.narHash, 'nix32')}\nNarSize: ${info.narSizeBytes}\n`;
  text += `References: ${info.references.map(baseNameOf).join(' ')}\n`;
  if (info.deriver !== undefined) text += `Deriver: ${baseNameOf(info.deriver)}\n`;
  if (info.system !== undefined) text += `System: ${line(info.system)}\n`;
  for (const signature of info.signatures) text += `Sig: ${line(signature)}\n`;
  if (info.contentAddress !== undefined) text += `CA: ${line(info.contentAddress)}\n`;
  return text;
}

/** What a signature covers: path, NAR hash and size, and the references in order. (Nix: `ValidPathInfo::fingerprint`) */
export function narInfoFingerprint(
  info: Pick<NarInfo, 'storePath' | 'narHash' | 'narSizeBytes' | 'references'>,
): string {
  const references = [...new Set<string>(info.references)].sort().join(',');
  return `1;${info.storePath};${formatHash(info.narHash, 'nix32')};${info.narSizeBytes};${references}`;
}

interface NarInfoDraft {
  storePath?: StorePath;
  url?: string;
  compression?: string;
  fileHash?: Hash;
  fileSizeBytes?: number;
  narHash?: Hash;
  narSizeBytes?: number;
  references?: readonly StorePath[];
  deriver?: StorePath;
  system?: string;
  signatures: Set<string>;
  contentAddress?: string;
  /** One bit for each single field that has been read. */
  seen: number;
}

/** Checking one costs a tenth of a millisecond: many times what honest narinfos have, and still no burden. */
const SIGNATURES_MAX = 1000;

const SINGLE_FIELDS = [
  'StorePath',
  'URL',
  'Compression',
  'FileHash',
  'FileSize',
  'NarHash',
  'NarSize',
  'References',
  'Deriver',
  'System',
  'CA',
] as const;
const FIELD_BITS: ReadonlyMap<string, number> = new Map(SINGLE_FIELDS.map((name, index) => [name, 1 << index]));

function readField(draft: NarInfoDraft, name: string, value: string, storeDir: string, position: number): void {
  if (name === 'Sig') {
    draft.signatures.add(value);
    if (draft.signatures.size > SIGNATURES_MAX)
      throw corrupt(`it has more than ${SIGNATURES_MAX} signatures`, position);
    return;
  }
  const bit = FIELD_BITS.get(name);
  if (bit === undefined) return;
  if ((draft.seen & bit) !== 0) throw corrupt(`${name} stands there twice`, position);
  draft.seen |= bit;
  try {
    readSingleField(draft, name as (typeof SINGLE_FIELDS)[number], value, storeDir);
  } catch (error) {
    if (error instanceof NixFormatError) throw corrupt(`${name}: ${error.message}`, position);
    throw error;
  }
}

function readSingleField(
  draft: NarInfoDraft,
  name: (typeof SINGLE_FIELDS)[number],
  value: string,
  storeDir: string,
): void {
  switch (name) {
    case 'StorePath':
      draft.storePath = parseStorePath(value, storeDir);
      break;
    case 'URL':
      draft.url = value;
      break;
    case 'Compression':
      draft.compression = value;
      break;
    case 'FileHash':
      draft.fileHash = parseHash(value);
      break;
    case 'FileSize':
      draft.fileSizeBytes = parseSize(value);
      break;
    case 'NarHash':
      draft.narHash = parseHash(value);
      break;
    case 'NarSize':
      draft.narSizeBytes = parseSize(value);
      break;
    case 'References':
      draft.references = parseReferences(value, storeDir);
      break;
    case 'Deriver':
      if (value !== 'unknown-deriver') draft.deriver = storePathFromBaseName(value, storeDir);
      break;
    case 'System':
      draft.system = value;
      break;
    case 'CA':
      if (value === '') break;
      parseContentAddress(value);
      draft.contentAddress = value;
      break;
  }
}

function parseReferences(value: string, storeDir: string): readonly StorePath[] {
  const references = new Set<StorePath>();
  for (const baseName of value.split(' ')) {
    if (baseName !== '') references.add(storePathFromBaseName(baseName, storeDir));
  }
  return [...references];
}

// Nix reads 64 bits and allows a plus sign; numbers beyond what a double holds exactly are no sizes of real files.
function parseSize(value: string): number {
  const size = /^\+?\d{1,20}$/.test(value) ? Number(value) : Number.NaN;
  if (Number.isSafeInteger(size)) return size;
  throw new NixFormatError('size', `${quoteForMessage(value)} is not a number of bytes`);
}

function finish(draft: NarInfoDraft, position: number): NarInfo {
  const { storePath, url, narHash, narSizeBytes } = draft;
  if (storePath === undefined) throw corrupt('StorePath is missing', position);
  if (url === undefined || url === '') throw corrupt('URL is missing or empty', position);
  if (narHash === undefined) throw corrupt('NarHash is missing', position);
  if (narSizeBytes === undefined || narSizeBytes === 0) throw corrupt('NarSize is missing or 0', position);
  return {
    storePath,
    url,
    compression: draft.compression === undefined || draft.compression === '' ? 'bzip2' : draft.compression,
    ...(draft.fileHash !== undefined && { fileHash: draft.fileHash }),
    // 0 is how Nix writes that it does not know.
    ...(draft.fileSizeBytes !== undefined && draft.fileSizeBytes > 0 && { fileSizeBytes: draft.fileSizeBytes }),
    narHash,
    narSizeBytes,
    references: draft.references ?? [],
    ...(draft.deriver !== undefined && { deriver: draft.deriver }),
    ...(draft.system !== undefined && { system: draft.system }),
    signatures: [...draft.signatures],
    ...(draft.contentAddress !== undefined && { contentAddress: draft.contentAddress }),
  };
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeText(bytes: Uint8Array): string {
  try {
    return UTF8.decode(bytes);
  } catch {
    throw corrupt('it is not UTF-8 text', 0);
  }
}

function line(value: string): string {
  if (value.includes('\n') || value.includes('\r') || value.includes('\0')) {
    throw new NixFormatError('narinfo', `${quoteForMessage(value)} does not fit on one line`);
  }
  return value;
}

function corrupt(problem: string, position: number): NixFormatError {
  return new NixFormatError('narinfo', problem, position);
}
