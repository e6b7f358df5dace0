// The caching proxy. Narinfos that have been asked for before, against nginx with proxy_cache before the same upstream, each server on the same one
// core; and a closure that nobody has asked for yet, installed through it by real Nix, against the upstream direct.

import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { type AirGap, openAirGap } from '../test/support/air-gap.ts';
import { nixferryCommand } from '../test/support/nixferry.ts';
import { type BenchmarkContext, type Comparison, runPaired } from './support/benchmark.ts';
import { type Dataset, openDataset } from './support/dataset.ts';
import { type Load, loadNarInfos, ZIPF } from './support/narinfo-load.ts';
import { startNginx } from './support/nginx.ts';
import { ONE_CLIENT_CORE, type PinnedServer, startNixferry, startPinnedNginx } from './support/pinned-server.ts';
import { openServedMirror, type ServedMirror } from './support/served-mirror.ts';
import { openThinLine } from './support/thin-line.ts';

const CLIENTS = 100;
const RUN_SECONDS = 5;
const LINE = { megabitsPerSecond: 100, delayMs: 20 };
/** Each takes minutes. */
const MOST_COPIES = 3;
const TIMEOUT_MS = 10 * 60_000;

export async function benchmark({ runs, note, wants }: BenchmarkContext): Promise<Comparison[]> {
  await using where = await openAirGap();
  return [
    ...(wants('warm') ? await warm(where, await openServedMirror(note), runs, note) : []),
    ...(wants('cold') ? [await cold(where, Math.min(runs, MOST_COPIES), note)] : []),
    ...(wants('thin line') ? [await coldOverLine(where, Math.min(runs, MOST_COPIES), note)] : []),
  ];
}

async function warm(
  where: AirGap,
  mirror: ServedMirror,
  runs: number,
  note: (text: string) => void,
): Promise<Comparison[]> {
  const { directory, narInfoList } = mirror;
  await using upstream = await startPinnedNginx(where, { directory, port: 8201, core: ONE_CLIENT_CORE });
  const key = (await readFile(path.join(directory, '.nixferry/keys/public'), 'utf8')).trim();
  const flags = ['--upstream', upstream.url, '--trusted-public-key', key];
  // One has fetched everything before and has it in its mirror; the other has only asked for it.
  await using held = await startNixferry(where, { mirror: directory, port: 8202, flags });
  await using asked = await startNixferry(where, { mirror: path.join(where.directory, 'asked'), port: 8203, flags });
  await using nginx = await startPinnedNginx(where, { directory, port: 8204, ...cachingProxy(where, upstream.url) });
  const servers = [nginx, held, asked];
  const load = (server: PinnedServer): Promise<Load> =>
    loadNarInfos(where, server, { narInfoList, clients: CLIENTS, seconds: RUN_SECONDS });
  note('warming up: all draws, twice');
  for (const server of servers) {
    for (let requests = 0; requests < 2 * ZIPF.draws; ) requests += (await load(server)).requests;
  }
  note(`${runs} runs of ${RUN_SECONDS} s each of wrk with ${CLIENTS} clients: nginx, held, only asked for`);
  const loads = new Map(servers.map((server) => [server, [] as Load[]]));
  for (let index = 0; index < runs; index += 1) {
    for (const server of index % 2 === 0 ? servers : servers.toReversed()) {
      loads.get(server)?.push(await load(server));
    }
  }
  const row = (server: PinnedServer, of: (load: Load) => number) => ({
    ours: { name: 'serve --upstream', seconds: (loads.get(server) ?? []).map(of) },
    peer: { name: 'nginx proxy_cache', seconds: (loads.get(nginx) ?? []).map(of) },
    paired: true,
  });
  return [
    {
      what: 'warm narinfos of 100,000 paths that are held, by Zipf’s law, one core',
      unit: 'requests/s',
      ...row(held, ({ perSecond }) => perSecond),
      goal: { atLeastTimes: 0.6 },
    },
    {
      what: 'the same, CPU for one',
      unit: 'µs',
      ...row(held, ({ cpuMicroseconds }) => cpuMicroseconds),
    },
    {
      what: 'warm narinfos that were only asked for before',
      unit: 'requests/s',
      ...row(asked, ({ perSecond }) => perSecond),
      goal: { atLeastTimes: 0.6 },
    },
  ];
}

/** nginx as one would set it up before a binary cache. */
function cachingProxy(where: AirGap, upstreamUrl: string): { readonly settings: string; readonly locations: string } {
  const folder = path.join(where.directory, 'nginx-cache');
  const { host } = new URL(upstreamUrl);
  return {
    settings: `
  proxy_cache_path ${folder} levels=1:2 keys_zone=cache:64m max_size=10g inactive=1d use_temp_path=off;
  upstream cache { server ${host}; keepalive 16; }`,
    locations: `
    location / {
      proxy_pass http://cache;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache cache;
      proxy_cache_lock on;
      proxy_cache_valid 200 1d;
      proxy_cache_valid 404 1m;
    }`,
  };
}

async function cold(where: AirGap, runs: number, note: (text: string) => void): Promise<Comparison> {
  const dataset = await openDataset(note);
  await using upstream = await startNginx(where, dataset.directory, 8211);
  note(`${runs} runs each of nix copy of 400 paths over loopback: through a proxy that has nothing yet, and direct`);
  return {
    what: `cold: nix copy of 400 paths, ${Math.round(dataset.compressedBytes / 1e6)} MB of xz, over loopback, into a store in memory`,
    ...(await copies(where, dataset, `http://127.0.0.1:${upstream.port}`, runs)),
    goal: { atMostTimes: 1.3 },
  };
}

async function coldOverLine(where: AirGap, runs: number, note: (text: string) => void): Promise<Comparison> {
  const dataset = await openDataset(note);
  await using upstream = await startNginx(where, dataset.directory, 8221);
  await using line = await openThinLine({ where, serverPort: upstream.port, ...LINE });
  note(`${runs} runs each over ${LINE.megabitsPerSecond} Mbit/s and ${LINE.delayMs} ms each way, by ${line.shapedBy}`);
  return {
    what: `cold, over ${LINE.megabitsPerSecond} Mbit/s, ${LINE.delayMs} ms each way, by ${line.shapedBy}`,
    ...(await copies(where, dataset, `http://127.0.0.1:${line.port}`, runs)),
    goal: { atMostTimes: 1.3 },
  };
}

async function copies(where: AirGap, dataset: Dataset, upstreamUrl: string, runs: number) {
  const target = path.join(where.directory, 'copied-to');
  const mirror = path.join(where.directory, 'cold-mirror');
  const cache = path.join(where.env['HOME'] ?? where.directory, '.cache/nix');
  const flags = ['--upstream', upstreamUrl, '--trusted-public-key', dataset.publicKey, '--workers', '1'];
  // In memory: a gigabyte in 400 paths keeps a disk busier than any server. The mirror of the proxy is on the disk, as it would be.
  await mkdir(target, { recursive: true });
  await where.run('mount', ['-t', 'tmpfs', '-o', 'size=4g', 'tmpfs', target]);
  const clear = async (): Promise<void> => {
    // Nix remembers what a cache has told it.
    await rm(cache, { recursive: true, force: true });
    await where.run('find', [target, '-mindepth', '1', '-delete']);
  };
  const copyFrom = (url: string) => {
    const keys = ['--option', 'trusted-public-keys', dataset.publicKey];
    return where.run('nix', ['copy', '--from', url, '--to', target, dataset.root, ...keys], { timeoutMs: TIMEOUT_MS });
  };
  let proxy: AsyncDisposable | undefined;
  const seconds = await runPaired(
    runs,
    {
      prepare: async () => {
        await proxy?.[Symbol.asyncDispose]();
        await clear();
        await rm(mirror, { recursive: true, force: true });
        const listen = ['--listen', '127.0.0.1:8212'];
        const started = where.start(nixferryCommand, ['serve', '--mirror', mirror, ...listen, ...flags]);
        await started.waitForOutput(/^serving .* on http/m);
        proxy = started;
      },
      run: () => copyFrom('http://127.0.0.1:8212'),
    },
    { prepare: clear, run: () => copyFrom(upstreamUrl) },
  );
  await proxy?.[Symbol.asyncDispose]();
  await where.run('umount', [target]);
  return {
    ours: { name: 'through serve --upstream', seconds: seconds.ours },
    peer: { name: 'direct', seconds: seconds.peer },
    paired: true,
  };
}
