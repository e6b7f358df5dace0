import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { createProgress } from './progress.ts';

function record(style: 'bar' | 'lines' | 'none') {
  const stream = new PassThrough();
  const clock = { ms: 0 };
  const progress = createProgress({ stream, style, now: () => clock.ms });
  const text = () => String(stream.read() ?? '');
  return { progress, clock, text };
}

test('createProgress writes bytes, rate and time left when lines are due', () => {
  const { progress, clock, text } = record('lines');
  progress.on({ type: 'phase', phase: 'download', totalItems: 4, totalBytes: 4_000_000 });
  clock.ms = 4000;
  progress.on({ type: 'advance', items: 1, bytes: 500_000 });
  assert.equal(text(), '');
  clock.ms = 5000;
  progress.on({ type: 'advance', bytes: 500_000 });
  assert.equal(text(), 'download  1 of 4  1.0 MB of 4.0 MB  200 kB/s  15 s left\n');
});

test('createProgress sums a phase up when the next one begins', () => {
  const { progress, clock, text } = record('lines');
  progress.on({ type: 'phase', phase: 'download' });
  progress.on({ type: 'advance', items: 3, bytes: 6_000_000 });
  clock.ms = 2000;
  progress.on({ type: 'phase', phase: 'publish' });
  assert.equal(text(), 'download  3  6.0 MB  in 2 s  3.0 MB/s\n');
});

test('createProgress draws a bar no wider than the terminal, and clears it before a notice', () => {
  const { progress, clock, text } = record('bar');
  progress.on({ type: 'phase', phase: 'x'.repeat(200), totalItems: 2 });
  clock.ms = 200;
  progress.on({ type: 'advance', items: 1 });
  const drawn = text();
  assert.match(drawn, /^\r\u001B\[K\[#{12}\.{12}\] {2}50 %/);
  assert.equal(drawn.length, '\r\u001B[K'.length + 79);
  progress.on({ type: 'notice', message: 'hello' });
  assert.equal(text(), '\r\u001B[Khello\n');
});

test('createProgress writes nothing when the style is none', () => {
  const { progress, text } = record('none');
  progress.on({ type: 'phase', phase: 'a' });
  progress.on({ type: 'notice', message: 'b' });
  assert.equal(text(), '');
});
