import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeScopes, type ScopeSummary } from './scope-table.ts';

test('describeScopes says all here of what is not to come, and does not take an unknown size for none', () => {
  const addition = { reason: 'runtime', paths: 2 } as const;
  const summary: ScopeSummary = {
    scope: 'run',
    chosen: true,
    paths: 6,
    downloadBytes: 1000,
    unpackedBytes: 2000,
    adds: [
      { ...addition, pathsToCome: 0, downloadBytes: 0 },
      { ...addition, pathsToCome: 1, downloadBytes: 0 },
      { ...addition, pathsToCome: 1, downloadBytes: 1000 },
    ],
    builds: 0,
    problems: [],
  };
  const lines = describeScopes([summary]).split('\n').slice(-3);
  assert.deepEqual(
    lines.map((line) => line.split(':')[0]),
    ['  2 paths, all here', '  2 paths, to come, of unknown size', '  2 paths, 1.0 kB to come'],
  );
});
