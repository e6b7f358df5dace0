import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import { Download } from './download.ts';
import type { NarEvent } from './protocol.ts';

const SIZE_BYTES = 1_000_000;
const USEFUL_BYTES = LIMITS.proxyHeldBackBytes + 1;

function follow(download: Download): NarEvent[] {
  const events: NarEvent[] = [];
  download.follow((event) => events.push(event));
  return events;
}

test('Download tells a follower who comes late how far it is, and one who comes after the end how it ended', () => {
  const download = new Download('/file', SIZE_BYTES, 10_000);
  const early = follow(download);
  download.grown(USEFUL_BYTES);
  const late = follow(download);
  const growing = { say: 'growing', file: '/file', availableBytes: USEFUL_BYTES, sizeBytes: SIZE_BYTES };
  assert.deepEqual(early, [growing]);
  assert.deepEqual(late, [growing]);
  download.end({ say: 'verified', file: '/held', sizeBytes: SIZE_BYTES });
  const after = follow(download);
  for (const events of [early, late, after]) assert.equal(events.at(-1)?.say, 'verified');
});

test('Download fails those who read of a file that is begun anew, and serves those who come then', () => {
  const download = new Download('/file', SIZE_BYTES, 10_000);
  const before = follow(download);
  download.grown(USEFUL_BYTES);
  download.grown(0);
  assert.deepEqual(
    before.map(({ say }) => say),
    ['growing', 'failed'],
  );
  const after = follow(download);
  download.end({ say: 'verified', file: '/held', sizeBytes: SIZE_BYTES });
  assert.deepEqual(
    before.map(({ say }) => say),
    ['growing', 'failed'],
  );
  assert.deepEqual(after, [{ say: 'verified', file: '/held', sizeBytes: SIZE_BYTES }]);
});

test('Download that moves to another file fails those who read of the former, and keeps those who have nothing yet', () => {
  const early = new Download('/file', 100, 10_000);
  const reader = follow(early);
  early.grown(40);
  early.moves('/other');
  assert.deepEqual(reader, [{ say: 'failed' }]);
  const download = new Download('/file', 100, 10_000);
  const waiting = follow(download);
  download.moves('/other');
  download.grown(40);
  assert.deepEqual(follow(download), [{ say: 'growing', file: '/other', availableBytes: 40, sizeBytes: 100 }]);
  download.end({ say: 'verified', file: '/passed', sizeBytes: 100 });
  assert.equal(waiting.at(-1)?.say, 'verified');
});

test('Download tells nothing more to who has left', () => {
  const download = new Download('/file', SIZE_BYTES, 10_000);
  const events: NarEvent[] = [];
  download.follow((event) => events.push(event))();
  download.end({ say: 'failed' });
  assert.deepEqual(events, []);
});

test('Download tells of growth once it is of use, and then of small pieces together', () => {
  const download = new Download('/file', SIZE_BYTES, 10_000);
  const events = follow(download);
  download.grown(LIMITS.proxyHeldBackBytes);
  assert.deepEqual(events, []);
  for (let piece = 1; piece <= 5; piece += 1) download.grown(LIMITS.proxyHeldBackBytes + piece);
  assert.equal(events.length, 1);
  download.end({ say: 'failed' });
});
