// `npm run bench -- [NAME…] [--runs N] [--record]`: runs bench/NAME.ts, or all of them. Every figure stands beside that of
// a peer from the same run on the same machine; --record appends the rows to bench/results/NAME.jsonl.

import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { Benchmark } from './support/benchmark.ts';
import { formatComparisons, recordComparisons } from './support/report.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '5' }, record: { type: 'boolean', default: false } },
});
const folder = import.meta.dirname;
const known = (await readdir(folder))
  .filter((file) => file.endsWith('.ts') && file !== 'run.ts')
  .map((file) => file.slice(0, -'.ts'.length));
const unknown = positionals.filter((name) => !known.includes(name));
const runs = Number(values.runs);
if (unknown.length > 0 || !Number.isInteger(runs) || runs < 1) {
  process.stderr.write(`usage: npm run bench -- [${known.join('|')}] [--runs N] [--record]\n`);
  process.exitCode = 2;
} else {
  for (const name of positionals.length > 0 ? positionals : known) await runOne(name);
}

async function runOne(name: string): Promise<void> {
  const { benchmark } = (await import(path.join(folder, `${name}.ts`))) as { benchmark: Benchmark };
  const comparisons = await benchmark({ runs, note: (text) => process.stderr.write(`${name}: ${text}\n`) });
  process.stdout.write(formatComparisons(name, comparisons));
  if (values.record) await recordComparisons(path.join(folder, 'results', `${name}.jsonl`), comparisons);
}
