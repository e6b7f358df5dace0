import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Download } from './download.ts';
import type { NarEvent } from './protocol.ts';

function follow(download: Download): NarEvent[] {
  const events: NarEvent[] = [];
  download.follow((event) => events.push(event));
  return events;
}

test('Download tells a follower who comes late how far it is, and one who comes after the end how it ended', () => {
  const download = new Download('/file', 100, 10_000);
  const early = follow(download);
  download.grown(40);
  const late = follow(download);
  assert.deepEqual(early, []);
  assert.deepEqual(late, [{ say: 'growing', file: '/file', availableBytes: 40, sizeBytes: 100 }]);
  download.end({ say: 'verified', file: '/held', sizeBytes: 100 });
  const after = follow(download);
  for (const events of [early, late, after]) assert.equal(events.at(-1)?.say, 'verified');
});

test('Download fails those who read of a file that is begun anew, and serves those who come then', () => {
  const download = new Download('/file', 100, 10_000);
  const before = follow(download);
  download.grown(40);
  download.grown(0);
  assert.deepEqual(before, [{ say: 'failed' }]);
  const after = follow(download);
  download.end({ say: 'verified', file: '/held', sizeBytes: 100 });
  assert.deepEqual(before, [{ say: 'failed' }]);
  assert.deepEqual(after, [{ say: 'verified', file: '/held', sizeBytes: 100 }]);
});

test('Download tells nothing more to who has left', () => {
  const download = new Download('/file', 100, 10_000);
  const events: NarEvent[] = [];
  download.follow((event) => events.push(event))();
  download.end({ say: 'failed' });
  assert.deepEqual(events, []);
});
