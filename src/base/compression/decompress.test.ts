import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { suite, test } from 'node:test';
import { brotliCompressSync, constants, gzipSync, zstdCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { LIMITS } from '../limits.ts';
import { compressZstd } from './compress-zstd.ts';
import { asCompression, type Compression, compressionSuffix } from './compression.ts';
import { decompressBytes } from './decompress-bytes.ts';
import { decompressStream } from './decompress-stream.ts';
import { hashDecompressed } from './hash-decompressed.ts';

type Codec = Exclude<Compression, 'none'>;

const text = Buffer.from(Array.from({ length: 20_000 }, (_, index) => `line ${(index * 7919) % 10_007}\n`).join(''));
const brotliQuick = { params: { [constants.BROTLI_PARAM_QUALITY]: 3 } };
const compress: Readonly<Record<Codec, (bytes: Buffer) => Buffer>> = {
  xz: (bytes) => pipeThrough('xz', ['-1'], bytes),
  bzip2: (bytes) => pipeThrough('bzip2', [], bytes),
  zstd: (bytes) => zstdCompressSync(bytes),
  gzip: (bytes) => gzipSync(bytes),
  br: (bytes) => brotliCompressSync(bytes, brotliQuick),
};
const codecs = Object.keys(compress) as Codec[];
const generous = { maxBytes: 1e9 };

for (const codec of codecs) {
  suite(`decompressStream of ${codec}`, () => {
    const packed = compress[codec](text);

    test('gives the original back when the input comes in pieces of any size', async () => {
      for (const pieceBytes of [1, 7, 4096, packed.length]) {
        const input = pieceBytes === 1 ? compress[codec](text.subarray(0, 1000)) : packed;
        const output = await collect(decompressStream(codec, pieces(input, pieceBytes), generous));
        assert.ok(output.equals(pieceBytes === 1 ? text.subarray(0, 1000) : text));
      }
    });

    test('refuses input that is cut short', async () => {
      for (const keptBytes of [0, 1, 5, packed.length >> 1, packed.length - 9, packed.length - 1]) {
        await assert.rejects(
          collect(decompressStream(codec, pieces(packed.subarray(0, keptBytes), 1000), generous)),
          { code: 'damage' },
          `${keptBytes} bytes`,
        );
      }
    });

    test('refuses bytes that follow the end', async () => {
      for (const trailer of ['x', 'garbage', '\0\0\0\0\0', packed.subarray(0, 3)]) {
        const input = Buffer.concat([packed, Buffer.from(trailer as string)]);
        for (const pieceBytes of [packed.length, input.length]) {
          await assert.rejects(collect(decompressStream(codec, pieces(input, pieceBytes), generous)), {
            code: 'damage',
          });
        }
      }
    });

    test('stops at the bound and gives exactly as much when it is met', async () => {
      const output = await collect(decompressStream(codec, pieces(packed, 1000), { maxBytes: text.length }));
      assert.equal(output.length, text.length);
      await assert.rejects(collect(decompressStream(codec, pieces(packed, 1000), { maxBytes: text.length - 1 })), {
        code: 'damage',
        message: /more than the \d+ bytes/,
      });
    });

    test('throws the error of the source when that fails in the middle', async () => {
      const failure = new Error('connection lost');
      await assert.rejects(
        collect(decompressStream(codec, failing(packed.subarray(0, 500), failure), generous)),
        failure,
      );
    });

    test('ends with the reason of the abort when the source has stalled', async () => {
      const controller = new AbortController();
      const reading = collect(
        decompressStream(codec, stalled(packed.subarray(0, 500)), { ...generous, signal: controller.signal }),
      );
      setImmediate(() => controller.abort(new Error('stopped')));
      await assert.rejects(reading, /stopped/);
    });

    test('throws nothing but damage when bytes are changed', async () => {
      const small = compress[codec](text.subarray(0, 3000));
      await fc.assert(
        fc.asyncProperty(fc.nat(small.length - 1), fc.integer({ min: 1, max: 255 }), async (position, change) => {
          const mutated = Buffer.from(small);
          mutated[position] = (mutated[position] ?? 0) ^ change;
          try {
            await decompressBytes(codec, mutated, { maxBytes: 10_000 });
          } catch (error) {
            assert.equal((error as { code?: string }).code, 'damage');
          }
        }),
        { numRuns: codec === 'bzip2' ? 20 : 60 },
      );
    });
  });
}

for (const codec of codecs.filter((name) => name !== 'br')) {
  test(`decompressStream of ${codec} goes on when several streams stand in a row`, async () => {
    const packed = Buffer.concat([compress[codec](text), compress[codec](Buffer.alloc(0)), compress[codec](text)]);
    for (const pieceBytes of [997, packed.length]) {
      const output = await collect(decompressStream(codec, pieces(packed, pieceBytes), generous));
      assert.ok(output.equals(Buffer.concat([text, text])));
    }
  });
}

test('decompressStream passes none through, bounded', async () => {
  assert.ok((await collect(decompressStream('none', pieces(text, 1000), { maxBytes: text.length }))).equals(text));
  await assert.rejects(collect(decompressStream('none', pieces(text, 1000), { maxBytes: 10 })), { code: 'damage' });
});

test('decompressStream refuses a zstd window above the limit', async () => {
  // Magic, a descriptor without content size, a window of 2^41 bytes, and a last raw block of no bytes.
  const frame = Buffer.from('28b52ffd00f8010000', 'hex');
  await assert.rejects(collect(decompressStream('zstd', pieces(frame, 100), generous)), { code: 'damage' });
});

test('decompressStream skips skippable zstd frames', async () => {
  const skippable = Buffer.from('502a4d18050000000102030405', 'hex');
  const packed = Buffer.concat([skippable, zstdCompressSync(text), skippable, zstdCompressSync(text), skippable]);
  for (const pieceBytes of [11, 1000, packed.length]) {
    const output = await collect(decompressStream('zstd', pieces(packed, pieceBytes), generous));
    assert.ok(output.equals(Buffer.concat([text, text])));
  }
});

test('decompressStream reads no more of the source than the consumer asks for', async () => {
  const packed = zstdCompressSync(Buffer.alloc(50_000_000, 'abc'));
  let readBytes = 0;
  async function* source() {
    for (;;) {
      readBytes += packed.length;
      yield packed;
    }
  }
  const output = decompressStream('zstd', source(), { maxBytes: Number.MAX_SAFE_INTEGER });
  for (let count = 0; count < 20; count += 1) await output.next();
  await new Promise((resolve) => setImmediate(resolve));
  // What the streams between the two ends buffer, and no more: the source never ends.
  assert.ok(readBytes < 256 * 1024, `${readBytes} bytes read`);
  await output.return();
});

test('decompressStream leaves no child process behind when the consumer stops', async () => {
  const packed = pipeThrough('xz', ['-0'], Buffer.alloc(LIMITS.xzOneShotOutputBytes + 1_000_000));
  const before = childProcesses();
  for await (const chunk of decompressStream('xz', pieces(packed, 1000), generous)) {
    assert.ok(chunk.length > 0);
    assert.notDeepEqual(childProcesses(), before);
    break;
  }
  while (childProcesses().length > before.length) await new Promise((resolve) => setImmediate(resolve));
});

test('decompressStream leaves no child process behind when aborted', async () => {
  const controller = new AbortController();
  const before = childProcesses();
  const output = decompressStream('bzip2', stalled(compress.bzip2(text)), { ...generous, signal: controller.signal });
  const reading = collect(output);
  while (childProcesses().length === before.length) await new Promise((resolve) => setImmediate(resolve));
  controller.abort(new Error('stopped'));
  await assert.rejects(reading, /stopped/);
  while (childProcesses().length > before.length) await new Promise((resolve) => setImmediate(resolve));
});

suite('without the programs xz and bzip2', () => {
  const searchPath = process.env['PATH'];
  test('small xz files are still decoded, and larger ones up to another bound', async (context) => {
    const large = pipeThrough('xz', ['-0'], Buffer.alloc(LIMITS.xzOneShotOutputBytes * 2));
    withoutPrograms(context);
    assert.ok((await decompressBytes('xz', smallXz, generous)).equals(text));
    assert.equal(
      (await collect(decompressStream('xz', pieces(large, 1000), generous))).length,
      LIMITS.xzOneShotOutputBytes * 2,
    );
  });

  test('data that only the program can decode is refused with what to install', async (context) => {
    const filtered = pipeThrough('xz', ['--x86', '--lzma2'], text);
    withoutPrograms(context);
    const missing = { code: 'program-missing', hint: 'apt-get install xz-utils' };
    await assert.rejects(collect(decompressStream('xz', pieces(filtered, 1000), generous)), missing);
    const endless = collect(
      decompressStream('xz', repeat(Buffer.alloc(1_000_000)), { maxBytes: Number.MAX_SAFE_INTEGER }),
    );
    await assert.rejects(endless, missing);
    await assert.rejects(collect(decompressStream('bzip2', pieces(text, 1000), generous)), {
      code: 'program-missing',
      hint: 'apt-get install bzip2',
    });
  });

  const smallXz = compress.xz(text);
  function withoutPrograms(context: { after(fn: () => void): void }): void {
    process.env['PATH'] = '';
    context.after(() => {
      process.env['PATH'] = searchPath;
    });
  }
});

test('decompressBytes decodes xz with filters and checks that the library does not know', async () => {
  for (const options of [['--x86', '--lzma2'], ['--check=sha256'], ['--delta=dist=4', '--lzma2'], ['--check=none']]) {
    const packed = pipeThrough('xz', options, text);
    assert.ok((await decompressBytes('xz', packed, { maxBytes: text.length })).equals(text), options.join(' '));
    await assert.rejects(decompressBytes('xz', packed, { maxBytes: text.length - 1 }), { code: 'damage' });
  }
});

test('hashDecompressed gives hash and size of the decoded bytes', async () => {
  for (const codec of codecs) {
    const { sha256, sizeBytes } = await hashDecompressed(codec, compress[codec](text), generous);
    assert.equal(sizeBytes, text.length);
    assert.ok(sha256.equals(createHash('sha256').update(text).digest()));
  }
});

test('compressZstd writes one frame that states its size, which zstd itself accepts', async () => {
  const packed = await collect(compressZstd(pieces(text, 1000), { sizeBytes: text.length }));
  assert.ok(pipeThrough('zstd', ['-dc'], packed).equals(text));
  assert.ok((await decompressBytes('zstd', packed, { maxBytes: text.length })).equals(text));
  const contentSizeFlag = (packed[4] ?? 0) >>> 6;
  assert.ok(contentSizeFlag > 0);
});

test('compressZstd throws the error of the source', async () => {
  const failure = new Error('disk error');
  await assert.rejects(collect(compressZstd(failing(text, failure))), failure);
});

test('asCompression knows the labels of Nix and no others', () => {
  assert.equal(asCompression(''), 'bzip2');
  assert.equal(asCompression('identity'), 'none');
  for (const label of ['xz', 'zstd', 'bzip2', 'gzip', 'br', 'none'] as const) assert.equal(asCompression(label), label);
  for (const label of ['XZ', 'lzip', 'toString', 'gz']) assert.equal(asCompression(label), undefined);
});

test('compressionSuffix follows Nix, and names gzip too', () => {
  const suffixes = (['none', 'xz', 'zstd', 'bzip2', 'gzip', 'br'] as const).map(compressionSuffix);
  assert.deepEqual(suffixes, ['', '.xz', '.zst', '.bz2', '.gz', '.br']);
});

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* pieces(bytes: Buffer, pieceBytes: number): AsyncGenerator<Buffer, void, undefined> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

async function* failing(bytes: Buffer, failure: Error): AsyncGenerator<Buffer, void, undefined> {
  yield bytes;
  throw failure;
}

async function* stalled(bytes: Buffer): AsyncGenerator<Buffer, void, undefined> {
  yield bytes;
  await once(new EventTarget(), 'never');
}

async function* repeat(bytes: Buffer): AsyncGenerator<Buffer, void, undefined> {
  for (;;) yield bytes;
}

function pipeThrough(program: string, options: readonly string[], input: Buffer): Buffer {
  return execFileSync(program, ['-c', ...options], { input, maxBuffer: 1e9 });
}

function childProcesses(): string[] {
  const listed = execFileSync('ps', ['-o', 'comm=', '--ppid', String(process.pid)], { encoding: 'utf8' });
  return listed.split('\n').filter((name) => name === 'xz' || name === 'bzip2');
}
