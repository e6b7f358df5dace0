import { asCompression, compressionSuffix } from '../base/compression/compression.ts';
import {
  type InventoryRecord,
  type NeedLine,
  narInfoOf,
  needPathOf,
  type PathLine,
  type RootLine,
  STREAM_FOLDERS,
} from './inventory.ts';
import { lie, type WalkedLine, walkInventory } from './inventory-walk.ts';
import type { Manifest } from './manifest.ts';
import { rootDigest } from './root-digest.ts';

/** What is kept of a path in memory between the passes over the inventory; there may be hundreds of thousands. */
export interface CheckedPath {
  /** Base name. */
  readonly path: string;
  readonly narHash: string;
  readonly narFileSizeBytes: number;
  readonly narSizeBytes: number;
  /** Positions in the list of roots; the same array for all paths with the same roots. */
  readonly roots: readonly number[];
}

/** A path that belongs to the roots and does not travel. */
export interface CheckedNeed {
  /** Base name. */
  readonly path: string;
  readonly narHash: string;
  readonly narSizeBytes: number;
  /** As those of a path. */
  readonly roots: readonly number[];
  /** The shipment that brought it, as far as the sender knows. */
  readonly sequence: number | undefined;
}

export interface CheckedInventory {
  readonly roots: readonly RootLine[];
  readonly needs: readonly CheckedNeed[];
  /** In the order of the stream. */
  readonly paths: readonly CheckedPath[];
  /** The names of the small files, nix-cache-info first. */
  readonly files: readonly string[];
}

/**
 * Checks an inventory against the manifest and itself, before a byte of a volume is believed: each path once, references before referrers
 * (or needed from before) and within the root, roots as the manifest counts and digests them, volumes filled without a gap. Throws `damage`.
 */
export async function checkInventory(
  records: AsyncIterable<InventoryRecord>,
  manifest: Manifest,
  onLine: (line: WalkedLine) => void = () => {},
): Promise<CheckedInventory> {
  const check = new InventoryCheck(manifest);
  for await (const line of walkInventory(records, manifest)) {
    check.add(line);
    onLine(line);
  }
  return check.finish();
}

class InventoryCheck {
  readonly #manifest: Manifest;
  readonly #roots: RootLine[] = [];
  readonly #needs: CheckedNeed[] = [];
  readonly #paths: CheckedPath[] = [];
  /** Needs and paths by base name, as far as they came. */
  readonly #known = new Map<string, CheckedNeed | CheckedPath>();
  readonly #hashParts = new Set<string>();
  readonly #fileNames: string[] = [];
  /** Without case. */
  readonly #files = new Set<string>();
  readonly #memberships = new Map<string, readonly number[]>();
  readonly #nars = new Map<string, string>();
  #folders = 0;
  #narFileSizeBytes = 0;

  constructor(manifest: Manifest) {
    this.#manifest = manifest;
  }

  add(entry: WalkedLine): void {
    switch (entry.type) {
      case 'root':
        if (this.#files.size > 0 || this.#needs.length > 0) throw lie('a root stands behind what belongs to roots');
        // Refused before there are many: each is kept in memory.
        if (this.#roots.length === this.#manifest.roots.length) throw lie('the number of roots differs');
        this.#roots.push(entry.line);
        return;
      case 'need':
        this.#addNeed(entry.line);
        return;
      case 'folder':
        if (entry.at.member.name !== STREAM_FOLDERS[this.#folders++]) throw lie('the folders are not in their order');
        return;
      case 'file':
        this.#addFile(entry.line.name);
        return;
      case 'path':
        this.#addPath(entry.line, entry.isNarShared);
    }
  }

  finish(): CheckedInventory {
    this.#checkBeginning('the stream');
    this.#checkRoots();
    const { totals } = this.#manifest;
    const narSizeBytes = this.#paths.reduce((total, path) => total + path.narSizeBytes, 0);
    if (
      totals.pathCount !== this.#paths.length ||
      totals.needCount !== this.#needs.length ||
      totals.narCount !== this.#nars.size ||
      totals.narSizeBytes !== narSizeBytes ||
      totals.narFileSizeBytes !== this.#narFileSizeBytes ||
      totals.volumesSizeBytes !== this.#manifest.volumes.reduce((total, volume) => total + volume.sizeBytes, 0)
    ) {
      throw lie('the totals differ');
    }
    return { roots: this.#roots, needs: this.#needs, paths: this.#paths, files: this.#fileNames };
  }

  #addFile(name: string): void {
    // Two names that differ by case alone are one file on a medium, or in a mirror, that folds case.
    if (this.#files.has(name.toLowerCase())) throw lie(`${name} stands there twice`);
    if ((name === 'nix-cache-info') !== (this.#files.size === 0))
      throw lie('the stream must begin with nix-cache-info');
    this.#files.add(name.toLowerCase());
    this.#fileNames.push(name);
  }

  #addNeed(line: NeedLine): void {
    if (this.#files.size > 0) throw lie(`the need of ${line.path} stands behind the files`);
    this.#checkOnce(line.path);
    needPathOf(line, this.#manifest.storeDir);
    const { path, narHash, narSizeBytes, sequence } = line;
    const need = { path, narHash, narSizeBytes, roots: this.#membershipOf(line), sequence };
    this.#known.set(path, need);
    this.#needs.push(need);
  }

  #addPath(line: PathLine, isNarShared: boolean): void {
    this.#checkBeginning(line.path);
    this.#checkOnce(line.path);
    this.#checkNar(line, isNarShared);
    narInfoOf(line, this.#manifest.storeDir);
    const roots = this.#membershipOf(line);
    for (const reference of line.references) {
      if (reference !== line.path) this.#checkReference(line, reference, roots);
    }
    if (!isNarShared) this.#narFileSizeBytes += line.nar.sizeBytes;
    const path = {
      path: line.path,
      narHash: line.narHash,
      narFileSizeBytes: isNarShared ? 0 : line.nar.sizeBytes,
      narSizeBytes: line.narSizeBytes,
      roots,
    };
    this.#known.set(line.path, path);
    this.#paths.push(path);
  }

  #checkOnce(path: string): void {
    const hashPart = path.slice(0, 32);
    if (this.#hashParts.has(hashPart)) throw lie(`${path} stands there twice`);
    this.#hashParts.add(hashPart);
  }

  #checkBeginning(what: string): void {
    if (this.#folders !== STREAM_FOLDERS.length || this.#files.size === 0)
      throw lie(`${what} comes before the folders`);
  }

  #checkNar({ path, nar, narHash, narSizeBytes }: PathLine, isNarShared: boolean): void {
    const digits = nar.fileHash.slice('sha256:'.length);
    const compression = asCompression(nar.compression);
    if (compression === undefined || nar.name !== `nar/${digits}.nar${compressionSuffix(compression)}`) {
      throw lie(`the NAR of ${path} bears the wrong name`);
    }
    const contents = `${narHash} ${narSizeBytes} ${nar.sizeBytes}`;
    if (isNarShared && this.#nars.get(nar.name) !== contents)
      throw lie(`${path} shares a NAR, but says other things of it`);
    this.#nars.set(nar.name, contents);
  }

  #membershipOf(line: PathLine | NeedLine): readonly number[] {
    const key = line.roots.join();
    const known = this.#memberships.get(key);
    if (known !== undefined) return known;
    const isRising = line.roots.every(
      (root, index) => root < this.#roots.length && root > (line.roots[index - 1] ?? -1),
    );
    if (!isRising) throw lie(`the roots of ${line.path} are not in the list of roots`);
    this.#memberships.set(key, line.roots);
    return line.roots;
  }

  #checkReference(line: PathLine, reference: string, roots: readonly number[]): void {
    const target = this.#known.get(reference);
    if (target === undefined) throw lie(`${line.path} refers to ${reference}, which does not come before it`);
    if (target.roots !== roots && !roots.every((root) => target.roots.includes(root))) {
      throw lie(`a root holds ${line.path}, but not its reference ${reference}`);
    }
  }

  #checkRoots(): void {
    const { roots } = this.#manifest;
    if (roots.length !== this.#roots.length) throw lie('the number of roots differs');
    const members: (CheckedNeed | CheckedPath)[][] = roots.map(() => []);
    for (const path of this.#known.values()) for (const root of path.roots) members[root]?.push(path);
    for (const [index, line] of this.#roots.entries()) {
      const { rootPaths, type: _, ...rest } = line;
      const stated = roots[index];
      const paths = members[index] ?? [];
      const narSizeBytes = paths.reduce((total, path) => total + path.narSizeBytes, 0);
      const found = { ...rest, pathCount: paths.length, narSizeBytes, digest: rootDigest(paths) };
      if (JSON.stringify(orderedRoot(found)) !== JSON.stringify(stated === undefined ? null : orderedRoot(stated))) {
        throw lie(`the root ${line.name} differs`);
      }
      if (line.pathCount !== paths.length || line.digest !== found.digest || line.narSizeBytes !== narSizeBytes) {
        throw lie(`the root ${line.name} does not have the paths that it says it has`);
      }
      const isMember = (path: string): boolean => this.#known.get(path)?.roots.includes(index) ?? false;
      const inputs = (line.evaluationInputs ?? []).map(({ path }) => path);
      const release = line.channel === undefined ? [] : [line.channel.path];
      const repositories = (line.repositories ?? []).map(({ path }) => path);
      if (![...rootPaths, ...inputs, ...release, ...repositories].every(isMember))
        throw lie(`the root ${line.name} does not hold what it is a root for`);
    }
  }
}

function orderedRoot(root: Manifest['roots'][number]): unknown[] {
  const { name, request, scope, complete, pathCount, narSizeBytes, digest, asOf } = root;
  return [name, request, scope, complete, pathCount, narSizeBytes, digest, asOf];
}
