import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { StreamWalker, VolumeLayout } from './stream-layout.ts';
import { TAR_END_BYTES, type TarMember, tarHeaderBytes, tarMemberBytes } from './tar-header.ts';

function file(sizeBytes: number): TarMember {
  return { name: 'nar/x', kind: 'file', sizeBytes };
}

test('VolumeLayout begins a new volume when the next member would not fit', () => {
  const layout = new VolumeLayout(4096);
  assert.deepEqual(layout.place(file(1024)), { volume: 1, offset: 512 });
  assert.deepEqual(layout.place(file(2048)), { volume: 1, offset: 2048 });
  assert.deepEqual(layout.place(file(1)), { volume: 2, offset: 512 });
  assert.deepEqual(layout.finish(), [4096, 2048]);
});

test('VolumeLayout cuts only a member that is larger than a volume, and begins a volume with it', () => {
  const layout = new VolumeLayout(4096);
  layout.place(file(512));
  assert.deepEqual(layout.place(file(9000)), { volume: 2, offset: 512 });
  assert.deepEqual(layout.place(file(100)), { volume: 4, offset: 9728 - 8192 + 512 });
  assert.deepEqual(layout.finish(), [1024, 4096, 4096, 9728 - 8192 + 1024 + TAR_END_BYTES]);
});

test('VolumeLayout leaves no empty volume when a large member ends exactly with one', () => {
  const layout = new VolumeLayout(4096);
  layout.place(file(2 * 4096 - 512));
  assert.deepEqual(layout.finish(), [4096, 4096, TAR_END_BYTES]);
});

test('StreamWalker finds each member where VolumeLayout put it, whatever the sizes', () => {
  const sizes = fc.array(fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 8000, max: 50_000 })), {
    maxLength: 40,
  });
  fc.assert(
    fc.property(sizes, fc.integer({ min: 16, max: 40 }), (fileSizes, blocks) => {
      const layout = new VolumeLayout(blocks * 512);
      const members = fileSizes.map(file);
      const places = members.map((member) => layout.place(member));
      const volumeSizes = layout.finish();
      assert.ok(volumeSizes.every((sizeBytes) => sizeBytes > 0 && sizeBytes <= blocks * 512));
      const walker = new StreamWalker(volumeSizes);
      for (const [index, member] of members.entries()) {
        const position = walker.step(member);
        assert.ok(position !== undefined);
        assert.deepEqual(walker.contentsPlace(position, member), places[index]);
        const slices = walker.slices(position + tarHeaderBytes(member), member.sizeBytes);
        assert.equal(
          slices.reduce((total, slice) => total + slice.sizeBytes, 0),
          member.sizeBytes,
        );
        if (tarMemberBytes(member) <= blocks * 512) assert.ok(slices.length <= 1);
      }
      assert.ok(walker.isAtEnd());
    }),
  );
});

test('StreamWalker refuses a member when the volumes are too small for it', () => {
  const walker = new StreamWalker([1024, 512]);
  assert.equal(walker.step(file(512)), 0);
  assert.equal(walker.step(file(512)), undefined);
});
