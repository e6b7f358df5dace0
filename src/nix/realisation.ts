import { NixFormatError, quoteForMessage } from './format-error.ts';
import { formatHash, type Hash, parseHash } from './hash.ts';
import { isWellFormedSignature, type PublicKey, type SecretKey, signText, verifySignature } from './signature.ts';
import { baseNameOf, findNameProblem, type StorePathBaseName, storePathFromBaseName } from './store-path.ts';

/**
 * Which output a content-addressed derivation gave: named by the derivation's hash (Nix up to 2.34, `realisations/`), or by the
 * derivation's path (Nix from 2.35, `build-trace-v2/`).
 */
export type RealisationKey =
  | { readonly layout: 'realisations'; readonly derivationHash: Hash; readonly outputName: string }
  | { readonly layout: 'build-trace-v2'; readonly derivation: StorePathBaseName; readonly outputName: string };

/** That the output of `key` is the store path `outPath`, said by the makers of the signatures. */
export interface Realisation {
  readonly key: RealisationKey;
  readonly outPath: StorePathBaseName;
  /** `name:base64`, as for narinfos. */
  readonly signatures: readonly string[];
  /** Realisations (`sha256:<base16>!output`) that this one was built with; always empty in the newer layout. */
  readonly dependencies: ReadonlyMap<string, StorePathBaseName>;
}

/** The name of a realisation's file in a binary cache. */
export function formatRealisationPath(key: RealisationKey): string {
  if (key.layout === 'realisations') return `realisations/${formatId(key)}.doi`;
  return `build-trace-v2/${key.derivation}/${key.outputName}.doi`;
}

/** Reads such a name; undefined for every other. */
export function parseRealisationPath(path: string): RealisationKey | undefined {
  const [layout, first = '', second, ...more] = path.split('/');
  if (more.length > 0) return undefined;
  try {
    if (layout === 'realisations' && second === undefined && first.endsWith(SUFFIX)) {
      return parseId(first.slice(0, -SUFFIX.length));
    }
    if (layout === 'build-trace-v2' && second?.endsWith(SUFFIX) === true) {
      const outputName = checkOutputName(second.slice(0, -SUFFIX.length));
      return { layout, derivation: parseBaseName(first), outputName };
    }
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
  }
  return undefined;
}

/**
 * Reads a realisation's file. The older layout repeats the key, which must be the same; the newer does not.
 * @throws NixFormatError
 */
export function parseRealisation(data: string | Uint8Array, key: RealisationKey): Realisation {
  const fields = parseObject(data);
  if (key.layout === 'realisations') {
    const id = parseId(textField(fields, 'id'));
    if (formatId(id) !== formatId(key)) throw problem(`it is that of ${quoteForMessage(formatId(id))}`);
  }
  return {
    key,
    outPath: parseBaseName(textField(fields, 'outPath')),
    signatures: parseSignatures(fields.get('signatures')),
    dependencies: key.layout === 'realisations' ? parseDependencies(fields.get('dependentRealisations')) : new Map(),
  };
}

/** Writes a realisation's file as Nix does. */
export function formatRealisation(realisation: Realisation): string {
  const { key, outPath, signatures } = realisation;
  if (key.layout === 'realisations') return JSON.stringify({ ...identity(realisation, key), signatures });
  const split = signatures.map((signature) => {
    const colon = signature.indexOf(':');
    return { keyName: signature.slice(0, colon), sig: signature.slice(colon + 1) };
  });
  return JSON.stringify({ outPath, signatures: split });
}

/** What a signature covers: compact JSON with sorted names, without the signatures. (Nix: `Realisation::fingerprint`) */
export function realisationFingerprint(realisation: Realisation): string {
  const { key, outPath } = realisation;
  if (key.layout === 'realisations') return JSON.stringify(identity(realisation, key));
  return JSON.stringify({ key: { drvPath: key.derivation, outputName: key.outputName }, value: { outPath } });
}

/** The realisation with our signature beside all well-formed ones that it has, as signNarInfo does. */
export function signRealisation(realisation: Realisation, secret: SecretKey): Realisation {
  const ours = signText(secret, realisationFingerprint(realisation));
  const others = realisation.signatures.filter((signature) => {
    return isWellFormedSignature(signature) && !signature.startsWith(`${secret.name}:`);
  });
  return { ...realisation, signatures: [...new Set([...others, ours])].sort() };
}

/** The first signature that one of `keys` made over this realisation. */
export function trustedRealisationSignature(realisation: Realisation, keys: readonly PublicKey[]): string | undefined {
  const fingerprint = realisationFingerprint(realisation);
  return realisation.signatures.find((signature) => verifySignature(signature, fingerprint, keys));
}

type HashedKey = Extract<RealisationKey, { layout: 'realisations' }>;

/** As for narinfos: checking one costs a tenth of a millisecond. */
const SIGNATURES_MAX = 1000;
const SUFFIX = '.doi';
// Realisations hold base names only; which folder these are checked in makes no difference.
const ANY_STORE_DIR = '';

/** Names in the order of their bytes, as Nix's JSON library keeps them. */
function identity({ outPath, dependencies }: Realisation, key: HashedKey): Record<string, unknown> {
  const sorted = [...dependencies].sort(([a], [b]) => (a < b ? -1 : 1));
  return { dependentRealisations: Object.fromEntries(sorted), id: formatId(key), outPath };
}

function formatId(key: HashedKey): string {
  return `${formatHash(key.derivationHash, 'base16')}!${key.outputName}`;
}

function parseId(text: string): HashedKey {
  const mark = text.indexOf('!');
  if (mark === -1) throw problem(`${quoteForMessage(text)} is not of the form hash!output`);
  const outputName = checkOutputName(text.slice(mark + 1));
  return { layout: 'realisations', derivationHash: parseHash(text.slice(0, mark)), outputName };
}

function checkOutputName(name: string): string {
  if (findNameProblem(name, 0) !== undefined) throw problem(`${quoteForMessage(name)} is no name of an output`);
  return name;
}

function parseBaseName(text: string): StorePathBaseName {
  return baseNameOf(storePathFromBaseName(text, ANY_STORE_DIR));
}

function parseObject(data: string | Uint8Array): ReadonlyMap<string, unknown> {
  const text = typeof data === 'string' ? data : Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw problem('it is not JSON');
  }
  return entriesOf(value, 'the file');
}

function entriesOf(value: unknown, what: string): ReadonlyMap<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw problem(`${what} is not an object`);
  return new Map(Object.entries(value));
}

function textField(fields: ReadonlyMap<string, unknown>, name: string): string {
  const value = fields.get(name);
  if (typeof value !== 'string') throw problem(`${name} is missing or not a text`);
  return value;
}

function parseSignatures(value: unknown): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw problem('signatures are not a list');
  if (value.length > SIGNATURES_MAX) throw problem(`it has more than ${SIGNATURES_MAX} signatures`);
  return value.map((item: unknown) => {
    if (typeof item === 'string') return item;
    const fields = entriesOf(item, 'a signature');
    return `${textField(fields, 'keyName')}:${textField(fields, 'sig')}`;
  });
}

function parseDependencies(value: unknown): Map<string, StorePathBaseName> {
  const dependencies = new Map<string, StorePathBaseName>();
  if (value === undefined) return dependencies;
  for (const [id, outPath] of entriesOf(value, 'dependentRealisations')) {
    if (typeof outPath !== 'string') throw problem('a dependent realisation is not a text');
    dependencies.set(formatId(parseId(id)), parseBaseName(outPath));
  }
  return dependencies;
}

function problem(text: string): NixFormatError {
  return new NixFormatError('realisation', text);
}
