import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { scanXz } from './xz-scan.ts';

const contents = Buffer.concat([Buffer.alloc(100_000, 'words, words, '), randomBytes(150_000)]);

test('scanXz finds the exact size of the output for any layout of blocks and chunks', () => {
  for (const options of [
    ['-0'],
    ['-9'],
    ['--block-size=10000'],
    ['--check=none'],
    ['--check=crc32'],
    ['-T2', '--block-size=65536'],
  ]) {
    for (const bytes of [0, 1, 1000, 65_536, contents.length]) {
      const packed = xz(contents.subarray(0, bytes), ...options);
      assert.deepEqual(scanXz(packed), { streams: [{ start: 0, end: packed.length }], outputBytes: bytes });
    }
  }
});

test('scanXz adds up streams and passes over the padding between them', () => {
  const one = xz(contents.subarray(0, 5000), '-6');
  const two = xz(contents.subarray(0, 300), '-6');
  const start = one.length + 8;
  assert.deepEqual(scanXz(Buffer.concat([one, Buffer.alloc(8), two, Buffer.alloc(4)])), {
    streams: [
      { start: 0, end: one.length },
      { start, end: start + two.length },
    ],
    outputBytes: 5300,
  });
});

test('scanXz leaves files with other filters or checks to the program', () => {
  for (const options of [['--x86', '--lzma2'], ['--delta', '--lzma2'], ['--check=sha256']]) {
    assert.equal(scanXz(xz(contents, ...options)), undefined);
  }
});

test('scanXz refuses every file that is cut short', () => {
  const packed = xz(contents.subarray(99_000, 101_000), '-6');
  for (let bytes = 0; bytes < packed.length; bytes += 1) {
    assert.throws(() => scanXz(packed.subarray(0, bytes)), { code: 'damage' });
  }
});

test('scanXz throws nothing but damage when bytes are arbitrary', () => {
  const packed = xz(contents.subarray(99_000, 101_000), '-6');
  fc.assert(
    fc.property(fc.nat(packed.length - 1), fc.uint8Array({ minLength: 1, maxLength: 16 }), (position, bytes) => {
      const mutated = Buffer.from(packed);
      mutated.set(bytes.subarray(0, packed.length - position), position);
      try {
        scanXz(mutated);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'damage');
      }
    }),
    { numRuns: 1000 },
  );
});

function xz(input: Buffer, ...options: string[]): Buffer {
  return execFileSync('xz', ['-c', ...options], { input, maxBuffer: 1e8 });
}
