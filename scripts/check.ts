// `npm run check`: everything that needs no real Nix and no root. All steps run even when one fails, so that one
// call tells everything; types, lint and format run side by side, the tests alone.

import { spawn } from 'node:child_process';

interface Step {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
}

const SIDE_BY_SIDE: readonly Step[] = [
  { name: 'types', command: ['tsc', '-p', '.'] },
  { name: 'lint', command: ['oxlint', '--deny-warnings'] },
  { name: 'format', command: ['biome', 'check'] },
];
const TESTS: Step = {
  name: 'layers and unit tests',
  command: ['node', '--test', '--test-timeout=60000', 'test/layers.test.ts', 'src/**/*.test.ts'],
};

const checks = await Promise.all(SIDE_BY_SIDE.map(runQuietly));
const failures = [...checks, await runLoudly(TESTS)].filter((name) => name !== undefined);
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

async function runLoudly({ name, command: [program, ...args] }: Step): Promise<string | undefined> {
  return (await exitCode(spawn(program, args, { stdio: 'inherit' }))) === 0 ? undefined : name;
}

function exitCode(child: ReturnType<typeof spawn>): Promise<number | null> {
  return new Promise((resolve, reject) => child.once('error', reject).once('exit', resolve));
}
