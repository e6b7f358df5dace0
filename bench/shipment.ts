// Packing and importing: 2 GiB of zstd NARs against `cp` and against `cp` and `zstd -dc | sha256sum` of the same bytes, which is the work that cannot be
// avoided; peak memory with one NAR of 4 GiB and with 100,000 small paths; and a shipment of one changed path in 10,000.

import { readdir, readFile, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { repositoryRoot } from '../test/support/nixferry.ts';
import { run, toolEnvironment } from '../test/support/run.ts';
import { makeTempDir } from '../test/support/temp-dir.ts';
import { type BenchmarkContext, type Comparison, type Job, runPaired, timed } from './support/benchmark.ts';
import { changeOnePath, emptyFolder, narSizesOf, openLargeMirror, openSmallMirror } from './support/packed-mirror.ts';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;
const TIMEOUT_MS = 30 * 60_000;
const PEAK_BOUND_MB = 300;
/** Of what the pool gives, zstd makes a little more than a third. */
const NAR_BYTES = 5600 * MIB;

export async function benchmark({ runs, note }: BenchmarkContext): Promise<Comparison[]> {
  await using temp = await makeTempDir('bench-shipment');
  const large = await openLargeMirror('2gib', narSizesOf(NAR_BYTES, 128 * MIB), note);
  const huge = await openLargeMirror('one-4gib', [4 * GIB], note);
  const small = await openSmallMirror('100000', 100_000, note);
  return [
    ...(await againstCopying(temp.path, large, runs, note)),
    ...(await incremental(temp.path, note)),
    ...(await memoryOf(temp.path, huge, 'one NAR of 4 GiB', note)),
    ...(await memoryOf(temp.path, small, '100,000 small paths', note)),
  ];
}

async function againstCopying(
  temp: string,
  mirror: string,
  runs: number,
  note: (text: string) => void,
): Promise<Comparison[]> {
  const bytes = (await run('du', ['--summarize', '--bytes', path.join(mirror, 'nar')])).stdout.split('\t')[0] ?? '';
  const what = `${(Number(bytes) / GIB).toFixed(2)} GiB of zstd NARs`;
  const medium = path.join(temp, 'medium');
  const key = await keyOf(mirror);
  note(`${runs} runs each: pack, and cp`);
  const packing = await runPaired(
    runs,
    { prepare: () => emptyFolder(medium), run: () => nixferry(['pack', ...packArguments(mirror, medium)]) },
    {
      prepare: () => emptyFolder(path.join(temp, 'copy')),
      run: () => shell(`cp -r "$0"/nar "$1" && sync -f "$1"`, mirror, path.join(temp, 'copy')),
    },
  );
  await emptyFolder(medium);
  await nixferry(['pack', ...packArguments(mirror, medium)]);
  note(`${runs} runs each: import, and cp and zstd -dc | sha256sum`);
  const site = path.join(temp, 'site');
  const copy = path.join(temp, 'copy');
  const checked = `cp -r "$1" "$2" && sync -f "$2" && ls -S "$0"/nar/*.zst | xargs -P ${availableParallelism()} -n 1 /bin/sh -c 'zstd -dc "$0" | sha256sum'`;
  const importing = await runPaired(
    runs,
    { prepare: () => rm(site, { recursive: true, force: true }), run: () => importInto(site, medium, key) },
    { prepare: () => emptyFolder(copy), run: () => shell(checked, mirror, medium, copy) },
  );
  await rm(copy, { recursive: true });
  await rm(site, { recursive: true });
  return [
    {
      what: `${what}, written, flushed and read back`,
      ours: { name: 'pack', seconds: packing.ours },
      peer: { name: 'cp, sync', seconds: packing.peer },
    },
    {
      what: `${what}, ${availableParallelism()} cores`,
      ours: { name: 'import', seconds: importing.ours },
      peer: { name: 'cp, sync; zstd -dc | sha256sum', seconds: importing.peer },
      goal: { atMostTimes: 1.3 },
    },
  ];
}

async function memoryOf(
  temp: string,
  mirror: string,
  what: string,
  note: (text: string) => void,
): Promise<Comparison[]> {
  note(`one run: peak memory with ${what}`);
  const medium = path.join(temp, 'medium');
  const site = path.join(temp, 'site');
  await emptyFolder(medium);
  await rm(site, { recursive: true, force: true });
  const packed = await peakOf(['pack', ...packArguments(mirror, medium)]);
  const imported = await peakOf(['import', medium, '--trust', await keyOf(mirror), '--mirror', site]);
  await rm(medium, { recursive: true });
  await rm(site, { recursive: true });
  const row = (name: string, peakMegabytes: number, seconds: number): Comparison => ({
    what: `peak memory, ${what} (${seconds.toFixed(0)} s)`,
    unit: 'MB',
    ours: { name, seconds: [peakMegabytes] },
    peer: { name: 'bound', seconds: [PEAK_BOUND_MB] },
    goal: { atMostTimes: 1 },
  });
  return [row('pack', packed.megabytes, packed.seconds), row('import', imported.megabytes, imported.seconds)];
}

/** One path in 10,000 has changed: against the shipment that carries everything. */
async function incremental(temp: string, note: (text: string) => void): Promise<Comparison[]> {
  note('one run: a shipment of 1 changed path in 10,000');
  const mirror = path.join(temp, 'incremental');
  await run('cp', ['-r', await openSmallMirror('10000', 10_000, note), mirror]);
  const key = await keyOf(mirror);
  const medium = path.join(temp, 'medium');
  const site = path.join(temp, 'site');
  await emptyFolder(medium);
  await rm(site, { recursive: true, force: true });
  const first = await timed(pack(mirror, medium, []));
  const firstImport = await timed({ run: () => importInto(site, medium, key) });
  await changeOnePath(mirror, 1);
  await emptyFolder(medium);
  const second = await timed(pack(mirror, medium, ['--since', '1']));
  const secondImport = await timed({ run: () => importInto(site, medium, key) });
  const [folder = ''] = await readdir(medium);
  const manifest = JSON.parse(await readFile(path.join(medium, folder, 'manifest.json'), 'utf8')) as {
    totals: { pathCount: number };
  };
  const what = `${manifest.totals.pathCount} changed path in 10,000`;
  return [
    {
      what,
      ours: { name: 'pack --since', seconds: [second] },
      peer: { name: 'pack of everything', seconds: [first] },
    },
    {
      what,
      ours: { name: 'import', seconds: [secondImport] },
      peer: { name: 'import of everything', seconds: [firstImport] },
    },
  ];
}

function pack(mirror: string, medium: string, more: readonly string[]): Job {
  return { run: () => nixferry(['pack', ...packArguments(mirror, medium), ...more]) };
}

function packArguments(mirror: string, medium: string): string[] {
  return ['--to', medium, '--site', 'bench', '--no-tools', '--mirror', mirror];
}

function importInto(site: string, medium: string, key: string): Promise<unknown> {
  return nixferry(['import', medium, '--trust', key, '--mirror', site]);
}

async function keyOf(mirror: string): Promise<string> {
  return (await nixferry(['keys', 'show', '--mirror', mirror])).stdout.trim();
}

function nixferry(args: readonly string[], preload: readonly string[] = [], environment = {}) {
  const program = path.join(repositoryRoot, 'src/cli/main.ts');
  const env = toolEnvironment(environment);
  return run(process.execPath, [...preload, program, ...args], { timeoutMs: TIMEOUT_MS, env });
}

async function peakOf(args: readonly string[]): Promise<{ megabytes: number; seconds: number }> {
  await using temp = await makeTempDir('peak');
  const file = temp.join('peak');
  const preload = ['--import', path.join(repositoryRoot, 'test/support/peak-memory.ts')];
  const seconds = await timed({ run: () => nixferry(args, preload, { NIXFERRY_PEAK_FILE: file }) });
  return { megabytes: (Number(await readFile(file, 'utf8')) * 1024) / 1e6, seconds };
}

function shell(script: string, ...args: readonly string[]): Promise<unknown> {
  return run('/bin/sh', ['-euc', script, ...args], { timeoutMs: TIMEOUT_MS });
}
