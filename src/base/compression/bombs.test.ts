// In a file, and so a process, of its own: the peak of its memory is what these tests are about.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { brotliCompressSync, constants, gzipSync, zstdCompressSync } from 'node:zlib';
import type { Compression } from './compression.ts';
import { decompressStream } from './decompress-stream.ts';
import { hashDecompressed } from './hash-decompressed.ts';

const zeros = Buffer.alloc(16 * 1024 * 1024);
const bombs: readonly (readonly [Compression, () => Buffer])[] = [
  ['xz', () => repeated(execFileSync('xz', ['-0c'], { input: zeros }))],
  ['bzip2', () => repeated(execFileSync('bzip2', ['-1c'], { input: zeros }))],
  ['zstd', () => repeated(zstdCompressSync(zeros))],
  ['gzip', () => repeated(gzipSync(zeros, { level: 1 }))],
  ['br', () => brotliCompressSync(zeros, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } })],
];

for (const [compression, makeBomb] of bombs) {
  test(`a ${compression} bomb is refused without taking memory`, async () => {
    const bomb = makeBomb();
    const beforeKiB = process.resourceUsage().maxRSS;
    for (const maxBytes of [1_000_000, 15_000_000]) {
      await assert.rejects(hashDecompressed(compression, bomb, { maxBytes }), { code: 'damage' });
      await assert.rejects(drain(decompressStream(compression, endlessly(bomb), { maxBytes })), { code: 'damage' });
    }
    assert.ok(process.resourceUsage().maxRSS - beforeKiB < 64 * 1024);
  });
}

test('an xz bomb is refused before anything is decoded when there is no program', async (context) => {
  const bomb = repeated(execFileSync('xz', ['-0c'], { input: zeros }));
  const searchPath = process.env['PATH'];
  process.env['PATH'] = '';
  context.after(() => {
    process.env['PATH'] = searchPath;
  });
  const beforeKiB = process.resourceUsage().maxRSS;
  await assert.rejects(hashDecompressed('xz', bomb, { maxBytes: 100_000_000 }), { code: 'damage' });
  assert.ok(process.resourceUsage().maxRSS - beforeKiB < 64 * 1024);
});

test('an xz header that asks for a large dictionary is refused without taking memory', async () => {
  const packed = execFileSync('xz', ['-c', '--lzma2=dict=1536MiB,mode=fast,mf=hc3,nice=8'], {
    input: zeros.subarray(0, 1000),
  });
  const beforeKiB = process.resourceUsage().maxRSS;
  const filtered = execFileSync('xz', ['-c', '--delta', '--lzma2=dict=1536MiB,mode=fast,mf=hc3,nice=8'], {
    input: zeros.subarray(0, 1000),
  });
  await assert.rejects(hashDecompressed('xz', filtered, { maxBytes: 1000 }), { code: 'damage' });
  assert.equal((await hashDecompressed('xz', packed, { maxBytes: 1000 })).sizeBytes, 1000);
  assert.ok(process.resourceUsage().maxRSS - beforeKiB < 64 * 1024);
});

function repeated(packed: Buffer): Buffer {
  return Buffer.concat(Array.from({ length: 64 }, () => packed));
}

async function* endlessly(bytes: Buffer): AsyncGenerator<Buffer, void, undefined> {
  for (;;) yield bytes;
}

async function drain(source: AsyncIterable<Buffer>): Promise<void> {
  for await (const chunk of source) assert.ok(chunk.length > 0);
}
