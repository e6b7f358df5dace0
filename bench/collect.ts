// Collecting 400 paths from a web server into a mirror: against `nix copy`, which does the same; against `xz -dc |
// sha256sum` of the same files, which is the work that cannot be avoided; and, over a thin line, against `curl`, which
// only downloads.

import { rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { openAirGap } from '../test/support/air-gap.ts';
import type { NixEnvironment } from '../test/support/nix.ts';
import { nixferryCommand } from '../test/support/nixferry.ts';
import { type BenchmarkContext, type Comparison, type Job, runPaired, timed } from './support/benchmark.ts';
import { type Dataset, openDataset } from './support/dataset.ts';
import { startNginx } from './support/nginx.ts';
import { openThinLine } from './support/thin-line.ts';

const SERVER_PORT = 8080;
const TIMEOUT_MS = 30 * 60_000;
const LINE = { megabitsPerSecond: 100, delayMs: 20 };
const CURL_CONNECTIONS = 50;

export async function benchmark({ runs, note, wants }: BenchmarkContext): Promise<Comparison[]> {
  const dataset = await openDataset(note);
  await using where = await openAirGap();
  await using server = await startNginx(where, dataset.directory, SERVER_PORT);
  const onLoopback = `http://127.0.0.1:${server.port}`;
  const rows: Comparison[] = [];
  if (wants('unpack')) {
    note(`${runs} runs each: collect, and xz -dc | sha256sum`);
    const pairs = await runPaired(runs, collectJob(where, dataset, onLoopback), unpackJob(where, dataset));
    rows.push({
      what: `${describe(dataset)}, ${availableParallelism()} cores`,
      ours: { name: 'collect', seconds: pairs.ours },
      peer: { name: 'xz -dc | sha256sum', seconds: pairs.peer },
      paired: true,
      goal: { atMostTimes: 1.3 },
    });
  }
  if (wants('nix-copy')) rows.push(...(await againstNixCopy(where, dataset, onLoopback, note)));
  if (wants('thin-line')) {
    await using line = await openThinLine({ where, serverPort: server.port, ...LINE });
    note(
      `${runs} runs each over ${LINE.megabitsPerSecond} Mbit/s and ${LINE.delayMs} ms each way, by ${line.shapedBy}`,
    );
    const overLine = `http://127.0.0.1:${line.port}`;
    const pairs = await runPaired(runs, collectJob(where, dataset, overLine), curlJob(where, dataset, overLine));
    rows.push({
      what: `100 Mbit/s, 20 ms each way, by ${line.shapedBy}`,
      ours: { name: 'collect', seconds: pairs.ours },
      peer: { name: 'curl --parallel', seconds: pairs.peer },
      goal: { atMostTimes: 1.2 },
    });
  }
  return rows;
}

/** It takes minutes, so it runs once, between two runs of ours. */
async function againstNixCopy(
  where: NixEnvironment,
  dataset: Dataset,
  url: string,
  note: (text: string) => void,
): Promise<Comparison[]> {
  note('one run each: nix copy with its default compression, and without; collect before, between and behind');
  const seconds = [await timed(collectJob(where, dataset, url))];
  const copyXz = await timed(nixCopyJob(where, dataset, url, 'xz'));
  seconds.push(await timed(collectJob(where, dataset, url)));
  const copyNone = await timed(nixCopyJob(where, dataset, url, 'none'));
  seconds.push(await timed(collectJob(where, dataset, url)));
  const ours = { name: 'collect', seconds };
  return [
    {
      what: `${describe(dataset)}, over loopback`,
      ours,
      peer: { name: 'nix copy', seconds: [copyXz] },
      goal: { timesFaster: 20 },
    },
    { what: 'the same', ours, peer: { name: 'nix copy, compression=none', seconds: [copyNone] } },
  ];
}

function describe(dataset: Dataset): string {
  return `400 paths, ${Math.round(dataset.compressedBytes / 1e6)} MB of xz`;
}

function collectJob(where: NixEnvironment, dataset: Dataset, url: string): Job {
  const mirror = path.join(where.directory, 'mirror');
  const trust = ['--upstream', url, '--trusted-public-key', dataset.publicKey];
  const args = ['collect', dataset.root, ...trust, '--mirror', mirror];
  return { prepare: remover(mirror), run: () => where.run(nixferryCommand, args, { timeoutMs: TIMEOUT_MS }) };
}

function nixCopyJob(where: NixEnvironment, dataset: Dataset, url: string, compression: string): Job {
  const target = path.join(where.directory, 'nix-copy');
  const keys = ['--option', 'trusted-public-keys', dataset.publicKey];
  const to = `file://${target}?compression=${compression}`;
  const args = ['copy', '--from', url, '--to', to, dataset.root, ...keys];
  return { prepare: remover(target), run: () => where.run('nix', args, { timeoutMs: TIMEOUT_MS }) };
}

/** All cores, each with a file at a time, the largest first. */
function unpackJob(where: NixEnvironment, dataset: Dataset): Job {
  const script = `ls -S "$0"/nar/*.xz | xargs -P ${availableParallelism()} -n 1 /bin/sh -c 'xz -dc "$0" | sha256sum'`;
  return { run: () => where.run('/bin/sh', ['-euc', script, dataset.directory], { timeoutMs: TIMEOUT_MS }) };
}

function curlJob(where: NixEnvironment, dataset: Dataset, url: string): Job {
  const target = path.join(where.directory, 'curl');
  const list = path.join(where.directory, 'curl.config');
  const parallel = ['--parallel', '--parallel-immediate', '--parallel-max', String(CURL_CONNECTIONS)];
  const args = ['--silent', '--fail', '--create-dirs', ...parallel, '--config', list];
  return {
    prepare: async () => {
      await remover(target)();
      const entries = dataset.files.map((file) => `url = "${url}/${file}"\noutput = "${target}/${file}"\n`);
      await writeFile(list, entries.join(''));
    },
    run: () => where.run('curl', args, { timeoutMs: TIMEOUT_MS }),
  };
}

/** Every run starts with nothing there. */
function remover(folder: string): () => Promise<void> {
  return () => rm(folder, { recursive: true, force: true });
}
