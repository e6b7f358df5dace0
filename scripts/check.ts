// `npm run check`: everything that needs no real Nix and no root. All steps run even when one fails, so that one
// call tells everything; types, lint and format run side by side, then the tests.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';

interface Step {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
}

const SIDE_BY_SIDE: readonly Step[] = [
  { name: 'types', command: ['tsc', '-p', '.'] },
  { name: 'lint', command: ['oxlint', '--deny-warnings'] },
  { name: 'format', command: ['biome', 'check'] },
];
// Three processes, each with all its files in one: a process for every file would take half of the time to start. Those of serve and of HTTP wait
// for each other and for children, which leaves the cores to the rest.
const TESTS: readonly Step[] = [
  ['unit tests of mirror and shipment', ['src/{mirror,shipment}/**/*.test.ts']],
  ['unit tests of serve', ['src/serve/**/*.test.ts']],
  ['layers and all other unit tests', ['test/layers.test.ts', 'src/!(mirror|shipment|serve)/**/*.test.ts']],
].map(([name, files]) => ({
  name: String(name),
  command: ['node', '--test', '--test-isolation=none', '--test-timeout=60000', ...(files ?? [])],
}));
// Unit tests wait for the disk more than for anything else, and none of them is about the disk; the journeys use a real one.
const MEMORY_FOLDER = '/dev/shm';
if (process.env['TMPDIR'] === undefined && existsSync(MEMORY_FOLDER)) process.env['TMPDIR'] = MEMORY_FOLDER;
// Every run but the first finds the sources compiled.
process.env['NODE_COMPILE_CACHE'] ??= 'node_modules/.cache/compiled';

const checks = await Promise.all(SIDE_BY_SIDE.map(runQuietly));
const tests = await Promise.all(TESTS.map(runQuietly));
const failures = [...checks, ...tests].filter((name) => name !== undefined);
if (failures.length > 0) {
  process.stderr.write(`\ncheck: failed: ${failures.join(', ')}\n`);
  process.exitCode = 1;
}

/** Prints the output only when the step fails; resolves to the step's name then. */
async function runQuietly({ name, command: [program, ...args] }: Step): Promise<string | undefined> {
  const started = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
  const failed = (await exitCode(child)) !== 0;
  if (failed) process.stderr.write(`\n--- ${name}: ${program} ${args.join(' ')}\n${Buffer.concat(output)}`);
  process.stderr.write(`${failed ? '✖' : '✔'} ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)\n`);
  return failed ? name : undefined;
}

function exitCode(child: ReturnType<typeof spawn>): Promise<number | null> {
  return new Promise((resolve, reject) => child.once('error', reject).once('exit', resolve));
}
