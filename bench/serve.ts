// Serving, against nginx on the same folder, each server on the same one core and its clients on the others: narinfos by the second, how
// long the slowest wait, what a request costs, whether memory grows; a large NAR, alone and behind nginx; real Nix; and how long starting
// takes.

import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { type AirGap, openAirGap } from '../test/support/air-gap.ts';
import { nixferryCommand } from '../test/support/nixferry.ts';
import { type BenchmarkContext, type Comparison, runPaired } from './support/benchmark.ts';
import { openDataset } from './support/dataset.ts';
import { type Load, loadNarInfos, ZIPF } from './support/narinfo-load.ts';
import {
  CLIENT_CORES,
  ONE_CLIENT_CORE,
  type PinnedServer,
  SERVER_CORE,
  startNixferry,
  startPinnedNginx,
} from './support/pinned-server.ts';
import { openServedMirror, type ServedMirror } from './support/served-mirror.ts';

const CLIENTS = 100;
const RUN_SECONDS = 5;
const MEMORY_REQUESTS = 1_000_000;
const DOWNLOAD = path.join(import.meta.dirname, 'support/download.ts');
const DOWNLOADS_PER_RUN = 5;
/** Each takes half a minute. */
const MOST_COPIES = 7;
const STARTS = 10;
const TIMEOUT_MS = 10 * 60_000;

export async function benchmark({ runs, note, wants }: BenchmarkContext): Promise<Comparison[]> {
  await using where = await openAirGap();
  const rows: Comparison[] = [];
  if (wants('narinfos')) rows.push(...(await narInfos(where, await openServedMirror(note), runs, note)));
  if (wants('nar')) rows.push(...(await largeNar(where, await openServedMirror(note), runs, note)));
  if (wants('nix-copy')) rows.push(await realNix(where, runs, note));
  if (wants('start')) rows.push(...(await starting(where, await openServedMirror(note), note)));
  return rows;
}

async function narInfos(
  where: AirGap,
  mirror: ServedMirror,
  runs: number,
  note: (text: string) => void,
): Promise<Comparison[]> {
  await using ours = await startNixferry(where, { mirror: mirror.directory, port: 8101 });
  await using nginx = await startPinnedNginx(where, { directory: mirror.directory, port: 8102 });
  note(`${runs} runs of ${RUN_SECONDS} s each of wrk with ${CLIENTS} clients, after one to warm up`);
  // All draws once, so that what is measured later is not the first look at the disk.
  let requests = 0;
  while (requests < 2 * ZIPF.draws) requests += (await load(where, mirror, ours)).requests;
  await load(where, mirror, nginx);
  const memoryBefore = await ours.memoryMb();

  const loads = { ours: [] as Load[], nginx: [] as Load[] };
  for (let index = 0; index < runs; index += 1) {
    for (const server of index % 2 === 0 ? [ours, nginx] : [nginx, ours]) {
      loads[server === ours ? 'ours' : 'nginx'].push(await load(where, mirror, server));
    }
  }
  requests += loads.ours.reduce((sum, { requests: count }) => sum + count, 0);
  note(`the core of ours was busy for ${loads.ours.map(({ busy }) => `${Math.round(busy * 100)} %`).join(', ')}`);
  note(`as many more requests as are missing to ${MEMORY_REQUESTS}`);
  while (requests < MEMORY_REQUESTS) requests += (await load(where, mirror, ours)).requests;
  const memoryAfter = await ours.memoryMb();

  const compare = (of: (load: Load) => number) => ({
    ours: { name: ours.name, seconds: loads.ours.map(of) },
    peer: { name: nginx.name, seconds: loads.nginx.map(of) },
    paired: true,
  });
  return [
    {
      what: 'narinfos of 100,000 paths, asked for by Zipf’s law, one core',
      unit: 'requests/s',
      ...compare(({ perSecond }) => perSecond),
      goal: { atLeastTimes: 0.6 },
    },
    { what: 'the same, CPU for one', unit: 'µs', ...compare(({ cpuMicroseconds }) => cpuMicroseconds) },
    { what: `the same, 99 of 100 wait less with ${CLIENTS} clients`, unit: 'ms', ...compare(({ p99Ms }) => p99Ms) },
    {
      what: `memory after ${(requests / 1e6).toFixed(1)} million requests`,
      unit: 'MB',
      ours: { name: ours.name, seconds: [memoryAfter] },
      peer: { name: 'after 0.4 million', seconds: [memoryBefore] },
      goal: { atMostTimes: 1.1 },
    },
  ];
}

function load(where: AirGap, mirror: ServedMirror, server: PinnedServer): Promise<Load> {
  return loadNarInfos(where, server, { narInfoList: mirror.narInfoList, clients: CLIENTS, seconds: RUN_SECONDS });
}

async function largeNar(
  where: AirGap,
  mirror: ServedMirror,
  runs: number,
  note: (text: string) => void,
): Promise<Comparison[]> {
  const { directory } = mirror;
  await using alone = await startNixferry(where, { mirror: directory, port: 8111 });
  await using behind = await startNixferry(where, {
    mirror: directory,
    port: 8112,
    flags: ['--sendfile-header', 'X-Accel-Redirect'],
  });
  await using nginx = await startPinnedNginx(where, { directory, port: 8113 });
  await using front = await startPinnedNginx(where, { directory, port: 8114, locations: proxyTo(directory, 8112) });
  await using plainFront = await startPinnedNginx(where, {
    directory,
    port: 8115,
    locations: proxyTo(directory, 8111),
  });
  note(`${runs} runs each of ${DOWNLOADS_PER_RUN} downloads of 200 MB: alone, behind nginx, nginx`);
  note(`sent by nginx, named by ${behind.name} on ${behind.url}`);
  const servers = [nginx, alone, front, plainFront];
  const speeds = new Map(servers.map((server) => [server, [] as number[]]));
  const cpu = new Map([nginx, alone].map((server) => [server, [] as number[]]));
  for (let index = -1; index < runs; index += 1) {
    for (const server of index % 2 === 0 ? servers : servers.toReversed()) {
      const before = await server.cpuSeconds();
      const speed = await download(where, `${server.url}${mirror.largeNar.address}`);
      // The first round is there to have the file in memory.
      if (index < 0) continue;
      speeds.get(server)?.push(speed);
      cpu.get(server)?.push((((await server.cpuSeconds()) - before) / DOWNLOADS_PER_RUN) * 1000);
    }
  }
  const peer = { name: 'nginx', seconds: speeds.get(nginx) ?? [] };
  const row = (server: PinnedServer, name: string) => ({
    unit: 'MB/s' as const,
    ours: { name, seconds: speeds.get(server) ?? [] },
    peer,
    paired: true,
  });
  return [
    { what: 'a NAR of 200 MB, one core', ...row(alone, alone.name), goal: { atLeastTimes: 0.25 } },
    {
      what: 'the same, CPU for one',
      unit: 'ms',
      ours: { name: alone.name, seconds: cpu.get(alone) ?? [] },
      peer: { name: 'nginx', seconds: cpu.get(nginx) ?? [] },
      paired: true,
    },
    {
      what: 'a NAR of 200 MB, behind nginx with --sendfile-header',
      ...row(front, 'nginx and nixferry serve'),
      goal: { atLeastTimes: 0.9 },
    },
    { what: 'the same without --sendfile-header', ...row(plainFront, 'nginx and nixferry serve') },
  ];
}

/** As docs/guide/behind-nginx.md has it, as far as speed goes. */
function proxyTo(directory: string, port: number): string {
  return `
    location / { proxy_pass http://127.0.0.1:${port}; proxy_http_version 1.1; proxy_set_header Connection ""; }
    location /nixferry-files/ { internal; alias ${directory}/; }`;
}

/** Megabytes a second: the median of some downloads, each by a process of its own. */
async function download(where: AirGap, url: string): Promise<number> {
  const speeds: number[] = [];
  for (let index = 0; index < DOWNLOADS_PER_RUN; index += 1) {
    const args = ['-c', ONE_CLIENT_CORE, process.execPath, DOWNLOAD, url];
    speeds.push(Number((await where.run('taskset', args)).stdout) / 1e6);
  }
  return speeds.toSorted((a, b) => a - b)[Math.floor(DOWNLOADS_PER_RUN / 2)] ?? Number.NaN;
}

async function realNix(where: AirGap, runs: number, note: (text: string) => void): Promise<Comparison> {
  const dataset = await openDataset(note);
  await using ours = await startNixferry(where, { mirror: dataset.directory, port: 8121 });
  await using nginx = await startPinnedNginx(where, { directory: dataset.directory, port: 8122 });
  const copies = Math.min(runs, MOST_COPIES);
  note(`${copies} runs each of nix copy of 400 paths`);
  const target = path.join(where.directory, 'copied-to');
  // In memory: a gigabyte in 400 paths keeps a disk busier than any server, and never twice alike.
  await mkdir(target);
  await where.run('mount', ['-t', 'tmpfs', '-o', 'size=4g', 'tmpfs', target]);
  const cache = path.join(where.env['HOME'] ?? where.directory, '.cache/nix');
  const copyFrom = (server: PinnedServer) => ({
    prepare: async () => {
      // Nix remembers what a cache has told it.
      await rm(cache, { recursive: true, force: true });
      await where.run('find', [target, '-mindepth', '1', '-delete']);
    },
    run: () => {
      const keys = ['--option', 'trusted-public-keys', dataset.publicKey];
      const copy = ['nix', 'copy', '--from', server.url, '--to', target, dataset.root, ...keys];
      return where.run('taskset', ['-c', CLIENT_CORES, ...copy], { timeoutMs: TIMEOUT_MS });
    },
  });
  const seconds = await runPaired(copies, copyFrom(ours), copyFrom(nginx));
  return {
    what: `nix copy of 400 paths, ${Math.round(dataset.compressedBytes / 1e6)} MB of xz, into a store in memory`,
    ours: { name: ours.name, seconds: seconds.ours },
    peer: { name: nginx.name, seconds: seconds.peer },
    paired: true,
    goal: { atMostTimes: 1.1 },
  };
}

async function starting(where: AirGap, mirror: ServedMirror, note: (text: string) => void): Promise<Comparison[]> {
  note(`${STARTS} starts each: --help, and Node with nothing to do; serve, and nginx`);
  const pinned = (...command: string[]) => ({ run: () => where.run('taskset', ['-c', SERVER_CORE, ...command]) });
  const help = await runPaired(STARTS, pinned(nixferryCommand, '--help'), pinned(process.execPath, '-e', '0'));
  const serve = { ours: [] as number[], peer: [] as number[] };
  for (let index = 0; index < STARTS; index += 1) {
    const { directory } = mirror;
    await using ours = await startNixferry(where, { mirror: directory, port: 8131 });
    serve.ours.push(ours.startSeconds);
    await using nginx = await startPinnedNginx(where, { directory, port: 8132 });
    serve.peer.push(nginx.startSeconds);
  }
  return [
    {
      what: 'nixferry --help, one core',
      ours: { name: 'nixferry', seconds: help.ours },
      peer: { name: 'node -e 0', seconds: help.peer },
      goal: { atMost: 0.15 },
    },
    {
      what: 'from starting to the first answer, 100,000 paths, one core',
      ours: { name: 'nixferry serve', seconds: serve.ours },
      peer: { name: 'nginx', seconds: serve.peer },
      goal: { atMost: 2 },
    },
  ];
}
