import assert from 'node:assert/strict';
import { test } from 'node:test';
import pino from 'pino';
import { limitLog } from './limited-log.ts';

test('limitLog leaves out lines when a second has too many, and counts them', () => {
  const lines: { msg: string; leftOut?: number }[] = [];
  const logger = pino({ level: 'info' }, { write: (line) => void lines.push(JSON.parse(line)) });
  let nowMs = 0;
  const log = limitLog(logger, 2, () => nowMs);
  for (const message of ['one', 'two', 'three', 'four']) log.info({}, message);
  nowMs = 1000;
  log.error({}, 'five');
  assert.deepEqual(
    lines.map(({ msg }) => msg),
    ['one', 'two', 'log lines left out', 'five'],
  );
  assert.equal(lines[2]?.leftOut, 2);
});
