import { mapConcurrent } from '../../base/concurrency.ts';
import { LIMITS } from '../../base/limits.ts';
import { ignoreProgress, type OnProgress } from '../../base/progress.ts';
import { outputNameOf, type PublicKey, type StorePathBaseName, storePathFromBaseName } from '../../nix/index.ts';
import type { PathLine, RootLine } from '../inventory.ts';
import type { Manifest, ManifestRoot } from '../manifest.ts';
import { MediumReader } from '../medium-reader.ts';
import { findVolumes } from '../read-shipment.ts';
import { StreamWalker } from '../stream-layout.ts';
import { type DerivationSource, ShippedDerivations } from './derivation-source.ts';
import { DerivationKnowledge, type OutputFacts } from './output-facts.ts';
import { type SignatureState, signatureState } from './signature-state.ts';
import type { StagedShipment } from './staged-shipment.ts';

/** What a shipment says of itself, for a person who decides about it. Texts are as the sender wrote them: whoever prints one escapes it. */
export interface ShipmentDescription {
  /** Where it was found. */
  readonly folder: string;
  readonly manifest: Manifest;
  /** In hex. */
  readonly manifestSha256: string;
  readonly signature: SignatureState;
  readonly roots: readonly DescribedRoot[];
  /** By name, then version. Derivations (`.drv`) are not among them: see `derivations`. */
  readonly packages: readonly DescribedPackage[];
  /** The `.drv` files that travel along: how a client builds, not what it runs. */
  readonly derivations: { readonly pathCount: number; readonly narSizeBytes: number };
  /** Paths of the roots that do not travel: the site must have them from before. */
  readonly needs: readonly DescribedNeed[];
  /** Volumes that are in none of the folders, and those of another size than the manifest says. Their contents were not looked at. */
  readonly missingVolumes: readonly string[];
  readonly wrongSizeVolumes: readonly string[];
  /** Paths of which a derivation was found that tells of them. */
  readonly explainedPaths: number;
}

export interface DescribedRoot extends ManifestRoot {
  /** What was asked for itself. */
  readonly rootPaths: readonly NamedPath[];
}

export interface DescribedNeed extends Pick<DescribedPath, 'path' | 'narHash' | 'narSizeBytes'> {
  /** The shipment that brought it, as far as the sender knows. */
  readonly sequence: number | undefined;
}

export interface NamedPath {
  /** Base name. */
  readonly path: string;
  readonly name: string;
  /** Empty where none is stated. */
  readonly version: string;
  /** Undefined where nothing tells. */
  readonly output: string | undefined;
}

export interface DescribedPath extends NamedPath {
  readonly narHash: string;
  readonly narSizeBytes: number;
  readonly facts: OutputFacts | undefined;
}

/** All paths of one name and version. */
export interface DescribedPackage {
  readonly name: string;
  readonly version: string;
  readonly narSizeBytes: number;
  readonly licences: readonly string[];
  /** Where it, or what it was built from, is fetched from. */
  readonly urls: readonly string[];
  readonly paths: readonly DescribedPath[];
}

export interface DescribeOptions {
  readonly staged: StagedShipment;
  /** Keys that are trusted as senders. */
  readonly trusted: readonly PublicKey[];
  /** Where `.drv` files may be besides the shipment's volumes. */
  readonly derivationSources?: readonly DerivationSource[] | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Reads everything that a shipment says of itself. Throws `damage` when the inventory contradicts the manifest or itself. */
export async function describeShipment(options: DescribeOptions): Promise<ShipmentDescription> {
  const { staged, trusted, signal, onProgress = ignoreProgress } = options;
  const { manifest, shipment } = staged;
  onProgress({ type: 'phase', phase: 'read the inventory', totalItems: manifest.totals.pathCount });
  const found: FoundPath[] = [];
  const shipped = new ShippedDerivations();
  const derivations = { pathCount: 0, narSizeBytes: 0 };
  const rootPaths = new Map<string, string | undefined>();
  const { roots, needs } = await staged.checkInventory((line) => {
    signal?.throwIfAborted();
    if (line.type === 'root') for (const path of line.line.rootPaths) rootPaths.set(path, undefined);
    if (line.type !== 'path') return;
    const { path, deriver } = line.line;
    if (rootPaths.has(path)) rootPaths.set(path, deriver);
    onProgress({ type: 'advance', items: 1 });
    shipped.add(line);
    if (isDerivation(line.line)) {
      derivations.pathCount++;
      derivations.narSizeBytes += line.line.narSizeBytes;
    } else found.push(foundPath(line.line));
  });
  const volumes = await findVolumes(shipment, manifest);
  await using reader = new MediumReader(volumes, new StreamWalker(manifest.volumes.map((volume) => volume.sizeBytes)));
  const knowledge = new DerivationKnowledge([shipped.source(reader, signal), ...(options.derivationSources ?? [])]);
  const paths = await explain(found, knowledge, manifest.storeDir, onProgress, signal);
  return {
    folder: shipment.folder,
    manifest,
    manifestSha256: shipment.manifestSha256,
    signature: signatureState(shipment, trusted),
    roots: roots.map((root) => describedRoot(root, rootPaths)),
    packages: groupPackages(paths),
    derivations,
    needs,
    missingVolumes: volumes.filter(({ files }) => files.length === 0).map(({ name }) => name),
    wrongSizeVolumes: volumes
      .filter(({ files, sizeBytes }) => files[0] !== undefined && files[0].sizeBytes !== sizeBytes)
      .map(({ name }) => name),
    explainedPaths: paths.filter(({ facts }) => facts !== undefined).length,
  };
}

/** The name of a path as the deriver lets it be told. */
export function namedPath(path: string, deriver: string | undefined): NamedPath {
  return { path, ...outputNameOf(path as StorePathBaseName, deriver) };
}

export function isDerivation({ path }: { readonly path: string }): boolean {
  return path.endsWith('.drv');
}

function describedRoot(line: RootLine, derivers: ReadonlyMap<string, string | undefined>): DescribedRoot {
  const { type: _type, ...root } = line;
  const rootPaths = line.rootPaths.map((path) => namedPath(path, derivers.get(path)));
  return { ...root, rootPaths };
}

/** How many derivations are read at once. */
const READS_AT_ONCE = 16;

type FoundPath = Pick<PathLine, 'path' | 'deriver' | 'narHash' | 'narSizeBytes'>;

// Not the whole line: there may be hundreds of thousands.
function foundPath({ path, deriver, narHash, narSizeBytes }: PathLine): FoundPath {
  return { path, narHash, narSizeBytes, ...(deriver === undefined ? {} : { deriver }) };
}

async function explain(
  found: readonly FoundPath[],
  knowledge: DerivationKnowledge,
  storeDir: string,
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
): Promise<DescribedPath[]> {
  onProgress({ type: 'phase', phase: 'read derivations', totalItems: found.length });
  return mapConcurrent(
    found,
    READS_AT_ONCE,
    async ({ path, deriver, narHash, narSizeBytes }) => {
      const facts =
        deriver === undefined
          ? undefined
          : await knowledge.factsOf(storePathFromBaseName(path, storeDir), storePathFromBaseName(deriver, storeDir));
      onProgress({ type: 'advance', items: 1 });
      const named = namedPath(path, deriver);
      // What the derivation states is what was meant; the name alone may be ambiguous.
      const told = facts?.packageName !== undefined && facts.version !== undefined;
      return {
        ...named,
        name: told ? (facts.packageName ?? named.name) : named.name,
        version: told ? (facts.version ?? named.version) : named.version,
        narHash,
        narSizeBytes,
        facts,
      };
    },
    signal,
  );
}

/** Paths that share name and version, sorted by both. */
export function groupPackages(paths: readonly DescribedPath[]): DescribedPackage[] {
  const groups = new Map<string, DescribedPath[]>();
  for (const path of paths) {
    const key = `${path.name}\n${path.version}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [path]);
    else group.push(path);
  }
  const packages = [...groups.values()].map((group): DescribedPackage => {
    const { name = '', version = '' } = group[0] ?? {};
    const union = (list: (facts: OutputFacts) => readonly string[]) =>
      [...new Set(group.flatMap(({ facts }) => (facts === undefined ? [] : list(facts))))].slice(
        0,
        LIMITS.describedTexts,
      );
    return {
      name,
      version,
      narSizeBytes: group.reduce((total, path) => total + path.narSizeBytes, 0),
      licences: union(({ licences }) => licences),
      urls: union(({ urls, sourceUrls }) => [...urls, ...sourceUrls]),
      paths: group.sort((a, b) => compareText(a.path.slice(32), b.path.slice(32)) || compareText(a.path, b.path)),
    };
  });
  return packages.sort((a, b) => compareNames(a.name, b.name) || compareNames(a.version, b.version));
}

/** The order of people: case aside, numbers by their value; the same on every machine. */
export function compareNames(a: string, b: string): number {
  return COLLATOR.compare(a, b) || compareText(a, b);
}

const COLLATOR = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
