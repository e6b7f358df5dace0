import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { compressZstd } from '../base/compression/compress-zstd.ts';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import { explainWriteError, NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { FORMAT } from './format.ts';
import { formatInventoryLine, type InventoryRecord, parseInventoryLine } from './inventory.ts';
import type { Manifest } from './manifest.ts';

export type InventorySummary = Omit<Manifest['inventory'], 'name'>;

/** Writes an inventory to `file`, compressed and flushed, its opening line included. Gives what the manifest says of it. */
export async function writeInventory(
  file: string,
  records: AsyncIterable<InventoryRecord>,
  signal?: AbortSignal,
): Promise<InventorySummary> {
  const text = { sizeBytes: 0, lineCount: 0 };
  const sha256 = createHash('sha256');
  let sizeBytes = 0;
  try {
    await using handle = await open(file, 'w', 0o644);
    for await (const chunk of compressZstd(formatLines(records, text), { level: ZSTD_LEVEL, signal })) {
      sha256.update(chunk);
      sizeBytes += chunk.length;
      await handle.writeFile(chunk);
    }
    await handle.sync();
  } catch (error) {
    throw explainWriteError(error, file);
  }
  return { sizeBytes, sha256: sha256.digest('hex'), textSizeBytes: text.sizeBytes, lineCount: text.lineCount };
}

/**
 * The records of an inventory file whose hash has been checked against the manifest, its opening line left out.
 * Throws `damage` when they are more or longer than the manifest says, `newer-format` for lines that this reader does not know.
 */
export async function* readInventory(
  file: string,
  expected: Pick<InventorySummary, 'textSizeBytes' | 'lineCount'>,
  signal?: AbortSignal,
): AsyncGenerator<InventoryRecord> {
  const source = createReadStream(file, { highWaterMark: LIMITS.fileChunkBytes });
  const text = decompressStream('zstd', source, { maxBytes: expected.textSizeBytes, signal });
  let lineNumber = 0;
  for await (const line of splitLines(text)) {
    const record = parseInventoryLine(line, ++lineNumber);
    if (lineNumber === 1) checkOpening(record);
    else if (record.type === 'inventory')
      throw new NixferryError('damage', `the inventory begins anew in line ${lineNumber}`);
    else yield record;
  }
  if (lineNumber !== expected.lineCount) {
    throw new NixferryError('damage', `the inventory has ${lineNumber} lines; the manifest says ${expected.lineCount}`);
  }
}

const ZSTD_LEVEL = 9;
/** Lines are gathered to chunks of this size: a chunk a line would be slow. */
const GATHER_CHARACTERS = 256 * 1024;

async function* formatLines(
  records: AsyncIterable<InventoryRecord>,
  text: { sizeBytes: number; lineCount: number },
): AsyncGenerator<Buffer> {
  let gathered = formatInventoryLine({ type: 'inventory', format: FORMAT });
  text.lineCount = 1;
  const take = (): Buffer => {
    const chunk = Buffer.from(gathered);
    text.sizeBytes += chunk.length;
    gathered = '';
    return chunk;
  };
  for await (const record of records) {
    gathered += formatInventoryLine(record);
    text.lineCount++;
    if (gathered.length >= GATHER_CHARACTERS) yield take();
  }
  yield take();
}

async function* splitLines(text: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let begun: Buffer[] = [];
  let begunBytes = 0;
  for await (const chunk of text) {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
      const rest = chunk.subarray(start, end);
      checkLineLength(begunBytes + rest.length);
      yield begun.length === 0 ? rest : Buffer.concat([...begun, rest]);
      begun = [];
      begunBytes = 0;
      start = end + 1;
    }
    if (start < chunk.length) {
      begun.push(chunk.subarray(start));
      begunBytes += chunk.length - start;
      checkLineLength(begunBytes);
    }
  }
  if (begunBytes > 0) throw new NixferryError('damage', 'the last line of the inventory is cut off');
}

function checkLineLength(bytes: number): void {
  if (bytes <= LIMITS.inventoryLineBytes) return;
  throw new NixferryError('damage', `a line of the inventory is longer than ${LIMITS.inventoryLineBytes} bytes`);
}

function checkOpening(record: InventoryRecord): void {
  if (record.type !== 'inventory') throw new NixferryError('damage', 'the inventory does not begin with its format');
  if (record.format > FORMAT) {
    throw new NixferryError(
      'newer-format',
      `the inventory has format ${record.format}; this Nixferry reads ${FORMAT}`,
      {
        hint: 'use the newer Nixferry that wrote it',
      },
    );
  }
}
