import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { makeTempDir } from '../../../test/support/temp-dir.ts';
import { LIMITS } from '../limits.ts';
import { parseXzIndex, readXzIndex } from './xz-index.ts';

function pack(contents: Buffer, ...options: string[]): Buffer {
  return execFileSync('xz', ['-0c', ...options], { input: contents, maxBuffer: 64 * 1024 * 1024 });
}

test('parseXzIndex gives the size of the output for any number of blocks', () => {
  for (const size of [0, 1, 127, 128, 70_000, 1_000_000]) {
    const contents = randomBytes(size);
    assert.equal(parseXzIndex(pack(contents)), size);
    assert.equal(parseXzIndex(pack(contents, '--block-size=10000')), size);
    assert.equal(parseXzIndex(pack(contents, '--check=sha256', '--x86', '--lzma2=preset=0')), size);
  }
});

test('parseXzIndex knows only the last of several streams', () => {
  assert.equal(parseXzIndex(Buffer.concat([pack(randomBytes(500)), pack(randomBytes(30))])), 30);
});

test('parseXzIndex knows nothing of a file that is cut short, padded, or of another kind', () => {
  const whole = pack(randomBytes(1000), '--block-size=100');
  for (let end = 0; end < whole.length; end += 1) assert.equal(parseXzIndex(whole.subarray(0, end)), undefined);
  assert.equal(parseXzIndex(Buffer.concat([whole, Buffer.alloc(4)])), undefined);
  assert.equal(parseXzIndex(Buffer.from('This is a text and no archive at all YZ')), undefined);
});

test('parseXzIndex never throws whatever the bytes', () => {
  const footer = fc
    .tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.nat(8))
    .map(([crc, size]) => Buffer.from([...crc, size, 0, 0, 0, 0, 1, 0x59, 0x5a]));
  const any = fc.tuple(fc.uint8Array({ maxLength: 60 }), footer).map((parts) => Buffer.concat(parts));
  fc.assert(
    fc.property(any, (bytes) => {
      const size = parseXzIndex(bytes);
      assert.ok(size === undefined || size >= 0);
    }),
    { numRuns: 2000 },
  );
});

test('readXzIndex looks at the end of a file only', async () => {
  await using temp = await makeTempDir('xz-index');
  const file = join(temp.path, 'large.xz');
  const contents = randomBytes(LIMITS.xzIndexBytes * 3);
  await writeFile(file, pack(contents));
  assert.equal(await readXzIndex(file), contents.length);
  const many = pack(Buffer.alloc(4_000_000), '--block-size=100');
  await writeFile(file, many);
  assert.equal(await readXzIndex(file), undefined);
});
