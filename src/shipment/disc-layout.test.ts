import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { assignDiscs, type DiscLoad, spaceOnDisc, volumeSizeForDiscs } from './disc-layout.ts';
import { VOLUME_BYTES_DEFAULT, VOLUME_BYTES_MIN } from './format.ts';
import { MEDIA } from './media.ts';

const MIB = 1024 ** 2;
/** What is left for volumes on a disc of 14 MiB with an empty inventory is 10 MiB, less a few records. */
const LOAD: DiscLoad = { discBytes: 14 * MIB, inventoryBytes: 0, toolsBytes: [] };
const VOLUME = 3 * MIB;

function volumes(count: number, sizeBytes = VOLUME): number[] {
  return Array.from({ length: count }, () => sizeBytes);
}

function hasUsage(pattern: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof NixferryError && error.code === 'usage' && pattern.test(error.message);
}

test('assignDiscs fills one disc after the other when nothing is cut', () => {
  const whole = volumes(7).map(() => false);
  assert.deepEqual(assignDiscs(volumes(7), whole, LOAD), [1, 1, 1, 2, 2, 2, 3]);
});

test('assignDiscs leaves less on the first disc when it carries tools', () => {
  const whole = volumes(5).map(() => false);
  assert.deepEqual(assignDiscs(volumes(5), whole, { ...LOAD, toolsBytes: [4 * MIB, 1000] }), [1, 2, 2, 2, 3]);
});

test('assignDiscs keeps a cut NAR on one disc when it fits onto one', () => {
  const isCut = [false, true, true, false, false];
  assert.deepEqual(assignDiscs(volumes(5), isCut, LOAD), [1, 2, 2, 2, 3]);
});

test('assignDiscs lets a NAR go on from disc to disc when it is larger than one', () => {
  const isCut = [false, true, true, true, true, false];
  assert.deepEqual(assignDiscs(volumes(6), isCut, LOAD), [1, 1, 1, 2, 2, 2]);
});

test('assignDiscs counts the inventory on every disc', () => {
  const whole = volumes(4).map(() => false);
  assert.deepEqual(assignDiscs(volumes(4), whole, { ...LOAD, inventoryBytes: 3 * MIB }), [1, 1, 2, 2]);
});

test('assignDiscs never puts more onto a disc than it holds', () => {
  for (const discBytes of [5 * MIB, 6_000_001, 12_345_678]) {
    const sizes = Array.from({ length: 200 }, (_, index) => 1 + ((index * 7919) % 400_000));
    const isCut = sizes.map((_, index) => index % 3 === 0);
    const load = { discBytes, inventoryBytes: 77_777, toolsBytes: [100_001, 3] };
    const used = new Map<number, number>();
    for (const [index, disc] of assignDiscs(sizes, isCut, load).entries()) {
      used.set(disc, (used.get(disc) ?? 0) + spaceOnDisc(sizes[index] ?? 0));
    }
    for (const [disc, bytes] of used) {
      const tools = disc === 1 ? 100_001 + 3 : 0;
      assert.ok(bytes + tools + 77_777 + 4 * MIB <= discBytes, `disc ${disc}: ${bytes}`);
    }
  }
});

function assign(load: Partial<DiscLoad>): () => void {
  return () => assignDiscs([VOLUME], [false], { ...LOAD, ...load });
}

test('assignDiscs throws usage with the numbers when inventory, tools or a volume do not fit', () => {
  assert.throws(
    assign({ inventoryBytes: 11 * MIB }),
    hasUsage(/a disc of 14\.7 MB has no room.*inventory \(11\.5 MB\)/),
  );
  assert.throws(assign({ toolsBytes: [11 * MIB] }), hasUsage(/tools\/ \(11\.5 MB\)/));
  assert.throws(assign({ discBytes: 6 * MIB }), hasUsage(/a volume of 3\.1 MB does not fit.*2\.1 MB are left/));
  assert.throws(assign({ discBytes: 1 }), hasUsage(/a disc of 1 B has/));
});

test('volumeSizeForDiscs gives a size that wastes little, that a format takes, and not too many', () => {
  for (const discBytes of MEDIA.values()) {
    if (discBytes === undefined) continue;
    for (const streamBytes of [1, 1e9, 1e12, 1.5e12]) {
      const sizeBytes = volumeSizeForDiscs(discBytes, streamBytes);
      assert.ok(sizeBytes % 512 === 0 && sizeBytes >= VOLUME_BYTES_MIN && sizeBytes <= VOLUME_BYTES_DEFAULT);
      assert.ok(sizeBytes <= discBytes / 20 || streamBytes >= 1e12);
      assert.ok(streamBytes / sizeBytes <= 4100);
    }
  }
});
