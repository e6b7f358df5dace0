import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { hash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { array, assert as assertProperty, asyncProperty, boolean, integer, record, tuple } from 'fast-check';
import { findDecompressor } from './decompress-program.ts';
import { XzDecoders } from './xz-decoders.ts';
import { storeAsXz } from './xz-stored.ts';

const program = findDecompressor('xz');
assert.ok(program !== undefined);
const xz = program;

function compress(bytes: Uint8Array): Buffer {
  return execFileSync('xz', ['--compress', '--stdout', '-0'], { input: bytes });
}

const sha256 = (bytes: Uint8Array): Buffer => hash('sha256', bytes, 'buffer');

/** What a file is found to decode to when it comes in pieces. */
async function decode(decoders: XzDecoders, file: Buffer, outputBytes: number, pieceBytes = 65_536) {
  const decoding = decoders.begin(xz, outputBytes);
  for (let at = 0; at < file.length; at += pieceBytes) await decoding.write(file.subarray(at, at + pieceBytes));
  return decoding.end();
}

test('XzDecoders hashes one file after the other when they are of any size and come in any pieces', async () => {
  const decoders = new XzDecoders();
  const file = record({
    contents: tuple(integer({ min: 1, max: 300_000 }), boolean()),
    pieceBytes: integer({ min: 1000, max: 200_000 }),
  });
  await assertProperty(
    asyncProperty(array(file, { minLength: 1, maxLength: 4 }), async (files) => {
      for (const {
        contents: [sizeBytes, isRandom],
        pieceBytes,
      } of files) {
        const bytes = isRandom ? randomBytes(sizeBytes) : Buffer.alloc(sizeBytes, 'text ');
        assert.deepEqual(await decode(decoders, compress(bytes), sizeBytes, pieceBytes), sha256(bytes));
      }
    }),
    { numRuns: 15 },
  );
});

test('XzDecoders hashes many files at once', async () => {
  const decoders = new XzDecoders();
  const contents = Array.from({ length: 12 }, (_, index) => randomBytes(10_000 * (index + 1)));
  const digests = await Promise.all(contents.map((bytes) => decode(decoders, compress(bytes), bytes.length)));
  assert.deepEqual(digests, contents.map(sha256));
});

const GOOD = Buffer.alloc(200_000, 'good ');
const FILE = compress(GOOD);
const BAD: Readonly<Record<string, { file: Buffer; outputBytes: number }>> = {
  'has a flipped byte in its data': { file: flipped(FILE, 60), outputBytes: GOOD.length },
  'has a flipped byte in its index': { file: flipped(FILE, FILE.length - 20), outputBytes: GOOD.length },
  'has a flipped byte in its footer': { file: flipped(FILE, FILE.length - 3), outputBytes: GOOD.length },
  'is cut short': { file: FILE.subarray(0, FILE.length - 40), outputBytes: GOOD.length },
  'is cut short within a word': { file: FILE.subarray(0, FILE.length - 41), outputBytes: GOOD.length },
  'is empty': { file: Buffer.alloc(0), outputBytes: GOOD.length },
  'decodes to less than announced': { file: FILE, outputBytes: GOOD.length + 1 },
  'decodes to more than announced': { file: FILE, outputBytes: GOOD.length - 1 },
  'goes on with another stream': { file: Buffer.concat([FILE, FILE]), outputBytes: GOOD.length },
  'goes on with a stream that looks like ours': {
    file: Buffer.concat([FILE, storeAsXz(randomBytes(32 * 1024))]),
    outputBytes: GOOD.length,
  },
  'is cut off where our stream completes it': completedByOurs(),
  'goes on with something else': { file: Buffer.concat([FILE, randomBytes(400)]), outputBytes: GOOD.length },
};

/** The beginning of a stream, in which the head of whatever .xz stream comes next is the end of what it should decode to. */
function completedByOurs(): { file: Buffer; outputBytes: number } {
  // The heads of stream and block have 24 bytes, that of the data 3: left out are the last 24 of the data, and the end.
  const outputBytes = 40_025;
  return { file: storeAsXz(randomBytes(outputBytes)).subarray(0, 3 + outputBytes), outputBytes };
}

function flipped(file: Buffer, at: number): Buffer {
  const copy = Buffer.from(file);
  copy[at] = (copy[at] ?? 0) ^ 0x10;
  return copy;
}

for (const [what, { file, outputBytes }] of Object.entries(BAD)) {
  test(`XzDecoders does not say yes to a file that ${what}, and goes on with the next`, async () => {
    const decoders = new XzDecoders(2000);
    assert.deepEqual(await decode(decoders, FILE, GOOD.length), sha256(GOOD));
    assert.equal(await decode(decoders, file, outputBytes), undefined);
    assert.deepEqual(await decode(decoders, FILE, GOOD.length), sha256(GOOD));
  });
}

test('XzDecoders says nothing of a file when its program is missing or is another', async () => {
  for (const file of ['/nowhere/xz', '/bin/true', '/bin/cat']) {
    const decoding = new XzDecoders(500).begin({ file, args: [] }, GOOD.length);
    await decoding.write(FILE);
    assert.equal(await decoding.end(), undefined, file);
  }
});

test('XzDecoders ends with the reason of the signal when it is aborted, and takes the next file', async () => {
  const decoders = new XzDecoders();
  const stopping = new AbortController();
  const decoding = decoders.begin(xz, GOOD.length, stopping.signal);
  await decoding.write(FILE.subarray(0, 100));
  stopping.abort(new Error('enough'));
  await assert.rejects(decoding.end(), /enough/);
  assert.throws(() => decoders.begin(xz, 1, stopping.signal), /enough/);
  assert.deepEqual(await decode(decoders, FILE, GOOD.length), sha256(GOOD));
});

test('XzDecoders lets the process end while programs wait for the next file', () => {
  const script = `
    const { XzDecoders } = await import(process.argv[1]);
    const decoding = new XzDecoders().begin({ file: process.argv[2], args: [] }, ${GOOD.length});
    await decoding.write(Buffer.from(process.argv[3], 'base64'));
    console.log((await decoding.end()).toString('hex'));`;
  const module = new URL('./xz-decoders.ts', import.meta.url).href;
  const args = ['--input-type=module', '--eval', script, module, xz.file, FILE.toString('base64')];
  const started = performance.now();
  const output = execFileSync(process.execPath, args, { encoding: 'utf8', timeout: 30_000 });
  assert.equal(output.trim(), sha256(GOOD).toString('hex'));
  assert.ok(performance.now() - started < 8000);
});
