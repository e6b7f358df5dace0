// Shipments that a trusted sender, or whoever has his key, made to fill memory and disk: refused, with little of either.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { suite, test } from 'node:test';
import { brotliCompressSync, createZstdCompress, gzipSync } from 'node:zlib';
import { openMirror } from '../src/mirror/mirror.ts';
import { formatPublicKey } from '../src/nix/index.ts';
import type { PathLine } from '../src/shipment/inventory.ts';
import { type ForgedPath, forgeStream, overNar } from './support/forge-stream.ts';
import { repositoryRoot } from './support/nixferry.ts';
import { type RunResult, run, toolEnvironment } from './support/run.ts';
import { forge, makeTestShipment, type TestShipment, visiblePaths } from './support/shipments.ts';

const MIB = 1024 * 1024;
const PEAK_BYTES = 220e6;
/** A mirror with an index, a copy of an inventory, and nothing else of size. */
const DISK_BYTES = 20e6;

async function importMeasured(shipment: TestShipment): Promise<RunResult & { peakBytes: number; diskBytes: number }> {
  const peakFile = join(shipment.temp, 'peak');
  const mirror = join(shipment.temp, 'site');
  const key = formatPublicKey(shipment.sender.publicKey);
  const preload = ['--import', join(import.meta.dirname, 'support/peak-memory.ts')];
  const args = ['import', shipment.folder, '--trust', key, '--mirror', mirror];
  const result = await run(process.execPath, [...preload, join(repositoryRoot, 'src/cli/main.ts'), ...args], {
    env: toolEnvironment({ NIXFERRY_PEAK_FILE: peakFile }),
    exitCode: 'any',
  });
  const peakBytes = Number(await readFile(peakFile, 'utf8')) * 1024;
  const diskBytes = Number(execFileSync('du', ['--summarize', '--bytes', mirror], { encoding: 'utf8' }).split('\t')[0]);
  return { ...result, peakBytes, diskBytes };
}

async function assertHarmless(shipment: TestShipment, message: RegExp, visible: readonly string[]): Promise<void> {
  const result = await importMeasured(shipment);
  assert.equal(result.exitCode, 14, result.stderr);
  assert.match(result.stderr, message);
  assert.ok(result.peakBytes < PEAK_BYTES, `${result.peakBytes} bytes of memory`);
  assert.ok(result.diskBytes < DISK_BYTES, `${result.diskBytes} bytes on disk`);
  await using site = await openMirror(join(shipment.temp, 'site'), { access: 'read' });
  assert.deepEqual(await visiblePaths(site), visible);
}

/** An inventory that holds `line` very often, and says so. */
async function forgeInventory(shipment: TestShipment, line: string, sizeBytes: number): Promise<void> {
  const chunk = Buffer.from(line.repeat(Math.ceil(MIB / line.length)));
  const count = Math.ceil(sizeBytes / chunk.length);
  const opening = Buffer.from('{"type":"inventory","format":1}\n');
  const text = Readable.from([opening, ...Array.from({ length: count }, () => chunk)]);
  const parts: Buffer[] = [];
  for await (const part of text.pipe(createZstdCompress())) parts.push(part as Buffer);
  const bytes = Buffer.concat(parts);
  await writeFile(join(shipment.folder, 'inventory.jsonl.zst'), bytes);
  const stated = {
    sizeBytes: bytes.length,
    sha256: hash('sha256', bytes),
    textSizeBytes: opening.length + count * chunk.length,
    lineCount: 1 + (count * chunk.length) / line.length,
  };
  await forge(shipment, {
    manifest: (manifest) => ({ ...manifest, inventory: { ...manifest.inventory, ...stated } }),
  });
}

suite('bombs', { concurrency: 2 }, () => {
  test('nixferry import ends with 14 and stays small when NARs decode to very much more than they say', async () => {
    await using shipment = await makeTestShipment({ paths: [{ name: 'app', contents: Buffer.from('app') }] });
    const zeros = Buffer.alloc(256 * MIB);
    const bombs = {
      zstd: execFileSync('zstd', ['-c', '-q'], { input: zeros, maxBuffer: MIB * 16 }),
      gzip: gzipSync(zeros),
      br: brotliCompressSync(zeros),
      xz: execFileSync('xz', ['-c', '-1'], { input: zeros, maxBuffer: MIB * 16 }),
      bzip2: execFileSync('bzip2', ['-c'], { input: zeros, maxBuffer: MIB * 16 }),
    } satisfies Partial<Record<PathLine['nar']['compression'], Buffer>>;
    await forgeStream(shipment, (entries) => {
      const app = entries.findLast((entry): entry is ForgedPath => entry.type === 'path');
      assert.ok(app !== undefined);
      const forged = Object.entries(bombs).map(([compression, nar], index): ForgedPath => {
        const line = overNar(app.line, nar, compression as keyof typeof bombs);
        const path = `0${String(index).repeat(31)}-${compression}`;
        return withNarInfo({ ...app, nar, line: { ...line, path, narHash: `sha256:0${String(index).repeat(51)}` } });
      });
      return [...entries, ...forged];
    });
    await assertHarmless(shipment, /is damaged: .*-zstd.*more/, ['app']);
  });

  const LINES: Readonly<Record<string, { line: string; message: RegExp }>> = {
    'one line without an end': { line: 'x', message: /a line of the inventory is longer/ },
    'very many roots': {
      line: `{"type":"root","name":"app","request":"app","scope":"run","complete":true,"rootPaths":[],"pathCount":1,"narSizeBytes":1,"digest":"${'0'.repeat(64)}"}\n`,
      message: /the number of roots differs/,
    },
    'very many folders': { line: '{"type":"folder","name":"nar/"}\n', message: /the inventory contradicts itself/ },
    'very many openings': { line: '{"type":"inventory","format":1}\n', message: /the inventory begins anew/ },
  };

  for (const [what, { line, message }] of Object.entries(LINES)) {
    test(`nixferry import ends with 14 and stays small when the inventory is a bomb of ${what}`, async () => {
      await using shipment = await makeTestShipment();
      await forgeInventory(shipment, line, 1024 * MIB);
      await assertHarmless(shipment, message, []);
    });
  }
});

/** The narinfo that says what the line says. */
function withNarInfo(entry: ForgedPath): ForgedPath {
  const { line, narInfo } = entry;
  const { compression, name, fileHash, sizeBytes } = line.nar;
  const text = narInfo
    .toString()
    .replace(/^StorePath: .*$/m, `StorePath: /nix/store/${line.path}`)
    .replace(/^URL: .*$/m, `URL: ${name}`)
    .replace(/^Compression: .*$/m, `Compression: ${compression}`)
    .replace(/^FileHash: .*$/m, `FileHash: ${fileHash}`)
    .replace(/^FileSize: .*$/m, `FileSize: ${sizeBytes}`)
    .replace(/^NarHash: .*$/m, `NarHash: ${line.narHash}`);
  return { ...entry, narInfo: Buffer.from(text) };
}
