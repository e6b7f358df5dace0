import {
  contentAddressNamesPath,
  formatHash,
  formatPublicKey,
  hashAlgorithm,
  type NarInfo,
  NixFormatError,
  type PublicKey,
  parseContentAddress,
} from '../../nix/index.ts';
import { type InventoryRecord, type NeedLine, narInfoOf, type PathLine } from '../inventory.ts';
import { type DescribedPath, isDerivation, namedPath, type ShipmentDescription } from './shipment-description.ts';
import { narSha256 } from './show-text.ts';

/**
 * A shipment as a CycloneDX 1.6 bill of materials, in pieces, the same bytes each time: every store path is a component whose bom-ref is the path,
 * references are its dependencies. `readRecords` gives the inventory, which is read twice.
 * Licences and addresses stand where a derivation tells them, and nowhere else. (https://cyclonedx.org/docs/1.6/json/)
 */
export async function* cycloneDx(
  description: ShipmentDescription,
  readRecords: () => AsyncIterable<InventoryRecord>,
  writer: { readonly name: string; readonly version: string },
): AsyncGenerator<string, void, undefined> {
  const { manifest } = description;
  const described = new Map(
    description.packages.flatMap(({ paths }) => paths.map((path) => [path.path, path] as const)),
  );
  yield `{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":${json(serialNumber(description))},"version":1,\n`;
  yield `"metadata":${json(metadata(description, writer))},\n"components":[`;
  let separator = '\n';
  for await (const record of readRecords()) {
    if (record.type === 'path') {
      yield separator + json(component(record, described.get(record.path), manifest.storeDir));
    } else if (record.type === 'need') yield separator + json(neededComponent(record, manifest.storeDir));
    else continue;
    separator = ',\n';
  }
  const rootPaths = new Set(description.roots.flatMap((root) => root.rootPaths.map(({ path }) => path)));
  yield `\n],\n"dependencies":[\n${json(dependency(SHIPMENT_REF, [...rootPaths], manifest.storeDir))}`;
  for await (const record of readRecords()) {
    if (record.type !== 'path') continue;
    const references = record.references.filter((reference) => reference !== record.path);
    yield `,\n${json(dependency(`${manifest.storeDir}/${record.path}`, references, manifest.storeDir))}`;
  }
  yield '\n]}\n';
}

const SHIPMENT_REF = 'shipment';
const ALGORITHMS = { md5: 'MD5', sha1: 'SHA-1', sha256: 'SHA-256', sha512: 'SHA-512' } as const;

function json(value: unknown): string {
  return JSON.stringify(value);
}

/** A UUID made of the manifest's hash (version 8, RFC 9562): the same shipment, the same number. */
function serialNumber({ manifestSha256 }: ShipmentDescription): string {
  const variant = ((Number.parseInt(manifestSha256.charAt(16), 16) & 0x3) | 0x8).toString(16);
  const parts = [
    manifestSha256.slice(0, 8),
    manifestSha256.slice(8, 12),
    `8${manifestSha256.slice(13, 16)}`,
    `${variant}${manifestSha256.slice(17, 20)}`,
    manifestSha256.slice(20, 32),
  ];
  return `urn:uuid:${parts.join('-')}`;
}

function metadata(
  { manifest, manifestSha256, signature }: ShipmentDescription,
  writer: { name: string; version: string },
) {
  const verified = signature.kind === 'verified';
  return {
    timestamp: manifest.created,
    tools: { components: [{ type: 'application', ...writer }] },
    component: {
      type: 'data',
      'bom-ref': SHIPMENT_REF,
      name: `shipment for ${manifest.site}`,
      version: String(manifest.sequence),
    },
    properties: properties([
      ['site', manifest.site],
      ['sender', manifest.sender],
      ['sequence', String(manifest.sequence)],
      ['manifest-sha256', manifestSha256],
      ['store-dir', manifest.storeDir],
      ['signature', verified ? 'verified' : 'not verified'],
      ['signed-by', keyText(verified ? signature.key : undefined)],
    ]),
  };
}

function keyText(key: PublicKey | undefined): string | undefined {
  return key === undefined ? undefined : formatPublicKey(key);
}

function component(line: PathLine, described: DescribedPath | undefined, storeDir: string) {
  const { name, version, output } = described ?? namedPath(line.path, line.deriver);
  const facts = described?.facts;
  const licences = (facts?.licences ?? []).map((licence) => ({ license: { name: licence } }));
  const addresses = [...new Set([...(facts?.urls ?? []), ...(facts?.sourceUrls ?? [])])];
  const hashes = fileHashes(line, described, storeDir);
  return {
    // What a path is, Nix does not know; `library` is what the specification recommends then.
    type: isDerivation(line) ? 'file' : 'library',
    'bom-ref': `${storeDir}/${line.path}`,
    name: componentName(line.path, name),
    ...(version === '' ? {} : { version }),
    ...(hashes.length === 0 ? {} : { hashes }),
    ...(licences.length === 0 ? {} : { licenses: licences }),
    ...(addresses.length === 0
      ? {}
      : { externalReferences: addresses.map((url) => ({ type: 'source-distribution', url })) }),
    properties: properties([
      ['store-path', `${storeDir}/${line.path}`],
      ['output', output],
      ['nar-sha256', narSha256(line.narHash)],
      ['nar-size', String(line.narSizeBytes)],
      ['deriver', line.deriver === undefined ? undefined : `${storeDir}/${line.deriver}`],
      ['content-address', line.ca],
    ]),
  };
}

/** A name such as `-1` splits into nothing and a version; the specification wants a name. */
function componentName(path: string, name: string): string {
  return name === '' ? path.slice(33) : name;
}

/** A path that the site has from before: what refers to it is in the shipment, it is not. */
function neededComponent({ path, narHash, narSizeBytes }: NeedLine, storeDir: string) {
  const { name, version } = namedPath(path, undefined);
  return {
    type: isDerivation({ path }) ? 'file' : 'library',
    'bom-ref': `${storeDir}/${path}`,
    name: componentName(path, name),
    ...(version === '' ? {} : { version }),
    properties: properties([
      ['store-path', `${storeDir}/${path}`],
      ['carried', 'no: the site has it from before'],
      ['nar-sha256', narSha256(narHash)],
      ['nar-size', String(narSizeBytes)],
    ]),
  };
}

/**
 * `hashes` are of the thing itself as others have it: of a path that is one file with a stated hash, that file's. The hash of a NAR is nothing
 * that anybody else knows; it is a property.
 */
function fileHashes(line: PathLine, described: DescribedPath | undefined, storeDir: string) {
  const told = described?.facts?.fileHash ?? addressedFile(line, storeDir);
  return told === undefined ? [] : [{ alg: ALGORITHMS[told.algorithm], content: told.hex }];
}

function addressedFile(line: PathLine, storeDir: string) {
  if (line.ca === undefined) return undefined;
  try {
    const address = parseContentAddress(line.ca);
    const info: NarInfo = narInfoOf(line, storeDir);
    if (address.method !== 'flat' || !contentAddressNamesPath(address, info.storePath, info.references))
      return undefined;
    return { algorithm: hashAlgorithm(address.hash), hex: formatHash(address.hash, 'base16', { prefix: false }) };
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

function properties(values: readonly (readonly [name: string, value: string | undefined])[]) {
  return values.flatMap(([name, value]) => (value === undefined ? [] : [{ name: `nixferry:${name}`, value }]));
}

function dependency(ref: string, references: readonly string[], storeDir: string) {
  if (references.length === 0) return { ref };
  return { ref, dependsOn: references.map((reference) => `${storeDir}/${reference}`) };
}
