// `npm run bench -- [NAME…] [--runs N] [--only PART…] [--record]`: runs bench/NAME.ts, or all of them, or parts of them. Every figure stands beside that of
// a peer from the same run on the same machine; --record appends the rows to bench/results/NAME.jsonl.

import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { Benchmark } from './support/benchmark.ts';
import { formatComparisons, recordComparisons } from './support/report.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '5' },
    only: { type: 'string', multiple: true, default: [] },
    record: { type: 'boolean', default: false },
  },
});
const folder = import.meta.dirname;
/** What benchmarks asked whether to run it. */
const parts = new Set<string>();
const known = (await readdir(folder))
  .filter((file) => file.endsWith('.ts') && file !== 'run.ts')
  .map((file) => file.slice(0, -'.ts'.length));
const unknown = positionals.filter((name) => !known.includes(name));
const runs = Number(values.runs);
if (unknown.length > 0 || !Number.isInteger(runs) || runs < 1) {
  process.stderr.write(`usage: npm run bench -- [${known.join('|')}] [--runs N] [--only PART…] [--record]\n`);
  process.exitCode = 2;
} else {
  for (const name of positionals.length > 0 ? positionals : known) await runOne(name);
  const missing = values.only.filter((part) => !parts.has(part));
  if (missing.length > 0) {
    process.stderr.write(
      `no benchmark that ran has a part ${missing.join(', ')}; there are: ${[...parts].join(', ')}\n`,
    );
    process.exitCode = 2;
  }
}

async function runOne(name: string): Promise<void> {
  const { benchmark } = (await import(path.join(folder, `${name}.ts`))) as { benchmark: Benchmark };
  const passedOver: string[] = [];
  const wants = (part: string): boolean => {
    parts.add(part);
    const isWanted = values.only.length === 0 || values.only.includes(part);
    if (!isWanted) passedOver.push(part);
    return isWanted;
  };
  const comparisons = await benchmark({ runs, note: (text) => process.stderr.write(`${name}: ${text}\n`), wants });
  if (passedOver.length > 0) process.stderr.write(`${name}: not run: ${passedOver.join(', ')}\n`);
  process.stdout.write(formatComparisons(name, comparisons));
  if (values.record) await recordComparisons(path.join(folder, 'results', `${name}.jsonl`), comparisons);
}
