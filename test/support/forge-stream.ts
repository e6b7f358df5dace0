// What a sender with bad intentions could make, in every detail but one like an honest shipment: sizes, places, counts, digests and signatures all
// agree, so that nothing but the one lie under test can be what is refused.
import { hash } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { hashBytes } from '../../src/nix/index.ts';
import type { FileLine, InventoryRecord, PathLine, RootLine } from '../../src/shipment/inventory.ts';
import { readInventory } from '../../src/shipment/inventory-file.ts';
import { signManifest } from '../../src/shipment/manifest-signature.ts';
import { rootDigest } from '../../src/shipment/root-digest.ts';
import { formatTarHeader, TAR_END_BYTES, type TarMember, tarPaddingBytes } from '../../src/shipment/tar-header.ts';
import type { TestShipment } from './shipments.ts';

export type ForgedEntry =
  | { readonly type: 'root'; readonly line: RootLine }
  | { readonly type: 'folder'; readonly name: string }
  | { readonly type: 'file'; readonly name: string; readonly bytes: Buffer }
  | ForgedPath;

export interface ForgedPath {
  readonly type: 'path';
  readonly line: PathLine;
  /** Its NAR file; undefined where an earlier path brings it. */
  readonly nar: Buffer | undefined;
  readonly narInfo: Buffer;
}

/** Writes the shipment anew, in one volume, from what `change` makes of it; the lines keep what they say, but for places, sizes and sums. */
export async function forgeStream(
  shipment: TestShipment,
  change: (entries: ForgedEntry[]) => ForgedEntry[],
): Promise<void> {
  const { folder, sender, result } = shipment;
  const entries = change(await readEntries(shipment));
  const stream: Buffer[] = [];
  let position = 0;
  const put = (member: TarMember, contents: Buffer): { volume: number; offset: number } => {
    const header = formatTarHeader(member);
    const offset = position + header.length;
    const padding = Buffer.alloc(tarPaddingBytes(contents.length));
    stream.push(header, contents, padding);
    position = offset + contents.length + padding.length;
    return { volume: 1, offset };
  };
  const narPlaces = new Map<string, { volume: number; offset: number }>();
  const records = entries.map((entry): unknown => {
    if (entry.type === 'root') return entry.line;
    if (entry.type === 'folder') {
      put({ name: entry.name, kind: 'folder', sizeBytes: 0 }, Buffer.alloc(0));
      return { type: 'folder', name: entry.name };
    }
    if (entry.type === 'file') return putFile(entry, put);
    return putPath(entry, put, narPlaces);
  });
  stream.push(Buffer.alloc(TAR_END_BYTES));
  const volume = Buffer.concat(stream);
  await rm(join(folder, 'volumes'), { recursive: true });
  const lines = [{ type: 'inventory', format: 1 }, ...withHonestRoots(records as InventoryRecord[])];
  const text = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const inventory = zstdCompressSync(text);
  const paths = lines.filter((line): line is PathLine => line.type === 'path');
  const nars = new Map(paths.map(({ nar }) => [nar.name, nar.sizeBytes]));
  const roots = lines.filter((line): line is RootLine => line.type === 'root');
  const manifest = {
    ...result.manifest,
    roots: roots.map(({ type: _type, rootPaths: _rootPaths, ...root }) => root),
    totals: {
      ...result.manifest.totals,
      pathCount: paths.length,
      narCount: nars.size,
      narSizeBytes: sum(paths.map(({ narSizeBytes }) => narSizeBytes)),
      narFileSizeBytes: sum([...nars.values()]),
      volumesSizeBytes: volume.length,
    },
    inventory: {
      name: 'inventory.jsonl.zst',
      sizeBytes: inventory.length,
      sha256: hash('sha256', inventory),
      textSizeBytes: text.length,
      lineCount: lines.length,
    },
    volumes: [{ name: '0001-001.tar', sizeBytes: volume.length, sha256: hash('sha256', volume) }],
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  await writeFile(join(folder, 'inventory.jsonl.zst'), inventory);
  await writeFile(join(folder, '0001-001.tar'), volume);
  await writeFile(join(folder, 'manifest.json'), bytes);
  await writeFile(join(folder, 'manifest.sig'), signManifest(bytes, sender.secretKey));
}

/** The line of a path over another NAR file: name, FileHash and FileSize follow from its bytes. */
export function overNar(line: PathLine, nar: Buffer, compression: PathLine['nar']['compression']): PathLine {
  const fileHash = hashBytes('sha256', nar);
  const suffix = { none: '', xz: '.xz', zstd: '.zst', bzip2: '.bz2', gzip: '.gz', br: '.br' }[compression];
  const name = `nar/${fileHash.slice('sha256:'.length)}.nar${suffix}`;
  return { ...line, nar: { ...line.nar, name, compression, fileHash, sizeBytes: nar.length } };
}

async function readEntries({ folder, sender, result }: TestShipment): Promise<ForgedEntry[]> {
  const { manifest } = result;
  const stream = Buffer.concat(
    await Promise.all(manifest.volumes.map(({ name }) => readFile(join(folder, 'volumes', name)))),
  );
  const starts = [0];
  for (const { sizeBytes } of manifest.volumes) starts.push((starts.at(-1) ?? 0) + sizeBytes);
  const read = (place: { volume: number; offset: number }, sizeBytes: number): Buffer => {
    const start = (starts[place.volume - 1] ?? 0) + place.offset;
    return Buffer.from(stream.subarray(start, start + sizeBytes));
  };
  const seen = new Set<string>();
  const entries: ForgedEntry[] = [];
  const kept = join(sender.layout.folder, 'sent/plant-7/0001.inventory.jsonl.zst');
  for await (const record of readInventory(kept, manifest.inventory)) {
    if (record.type === 'root') entries.push({ type: 'root', line: record });
    else if (record.type === 'folder') entries.push({ type: 'folder', name: record.name });
    else if (record.type === 'file') {
      entries.push({ type: 'file', name: record.name, bytes: read(record as FileLine, record.sizeBytes) });
    } else if (record.type === 'path') {
      const nar = seen.has(record.nar.name) ? undefined : read(record.nar, record.nar.sizeBytes);
      seen.add(record.nar.name);
      entries.push({ type: 'path', line: record, nar, narInfo: read(record.narInfo, record.narInfo.sizeBytes) });
    }
  }
  return entries;
}

type Put = (member: TarMember, contents: Buffer) => { volume: number; offset: number };

function putFile({ name, bytes }: { readonly name: string; readonly bytes: Buffer }, put: Put): unknown {
  const { volume, offset } = put({ name, kind: 'file', sizeBytes: bytes.length }, bytes);
  return { type: 'file', name, sizeBytes: bytes.length, sha256: hash('sha256', bytes), volume, offset };
}

function putPath(
  { line, nar, narInfo }: ForgedPath,
  put: Put,
  narPlaces: Map<string, { volume: number; offset: number }>,
): unknown {
  if (nar !== undefined) {
    narPlaces.set(line.nar.name, put({ name: line.nar.name, kind: 'file', sizeBytes: nar.length }, nar));
  }
  const narInfoName = `${line.path.slice(0, 32)}.narinfo`;
  const place = put({ name: narInfoName, kind: 'file', sizeBytes: narInfo.length }, narInfo);
  return {
    ...line,
    nar: { ...line.nar, ...narPlaces.get(line.nar.name) },
    narInfo: { sizeBytes: narInfo.length, sha256: hash('sha256', narInfo), ...place },
  };
}

function withHonestRoots(records: InventoryRecord[]): InventoryRecord[] {
  const paths = records.filter((record): record is PathLine => record.type === 'path');
  let position = 0;
  return records.map((record) => {
    if (record.type !== 'root') return record;
    const root = position++;
    const own = paths.filter(({ roots }) => roots.includes(root));
    const narSizeBytes = sum(own.map((path) => path.narSizeBytes));
    return { ...record, pathCount: own.length, narSizeBytes, digest: rootDigest(own) };
  });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
