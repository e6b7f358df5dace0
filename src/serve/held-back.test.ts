import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { hashBytes } from '../nix/hash.ts';
import { heldBack, WrongBytes } from './held-back.ts';

async function* inPieces(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  let position = 0;
  for (let turn = 0; position < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    yield bytes.subarray(position, position + size);
    position += size;
  }
}

async function gather(source: AsyncIterable<Uint8Array>): Promise<{ bytes: Buffer; error: unknown }> {
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of source) chunks.push(chunk);
    return { bytes: Buffer.concat(chunks), error: undefined };
  } catch (error) {
    return { bytes: Buffer.concat(chunks), error };
  }
}

const CASES = {
  bytes: fc.uint8Array({ minLength: 1, maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  sizes: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 5 }),
  from: fc.nat(),
  to: fc.nat(),
};

test('heldBack gives exactly the range when the source is what was expected', async () => {
  await fc.assert(
    fc.asyncProperty(fc.record(CASES), async ({ bytes, sizes, from, to }) => {
      const [start = 0, end = 0] = [from % bytes.length, to % bytes.length].sort((a, b) => a - b);
      const expected = { hash: hashBytes('sha256', bytes), sizeBytes: bytes.length };
      const { bytes: got, error } = await gather(heldBack(inPieces(bytes, sizes), expected, start, end));
      assert.equal(error, undefined);
      assert.deepEqual(got, bytes.subarray(start, end + 1));
    }),
  );
});

test('heldBack never gives the whole range of a source with one wrong, missing or further byte', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({ ...CASES, how: fc.constantFrom('wrong', 'short', 'long'), where: fc.nat() }),
      async ({ bytes, sizes, from, to, how, where }) => {
        const [start = 0, end = 0] = [from % bytes.length, to % bytes.length].sort((a, b) => a - b);
        const expected = { hash: hashBytes('sha256', bytes), sizeBytes: bytes.length };
        const changed =
          how === 'short' ? bytes.subarray(0, -1) : Buffer.concat([bytes, Buffer.alloc(how === 'long' ? 1 : 0)]);
        const at = where % bytes.length;
        if (how === 'wrong') changed[at] = (changed[at] ?? 0) ^ 1;
        const { bytes: got, error } = await gather(heldBack(inPieces(changed, sizes), expected, start, end));
        assert.ok(error instanceof WrongBytes);
        assert.ok(got.length < end + 1 - start);
      },
    ),
  );
});
