// wrk against one server: narinfos by Zipf's law, and what a request costs.

import path from 'node:path';
import type { NixEnvironment } from '../../test/support/nix.ts';
import { ONE_CLIENT_CORE, type PinnedServer } from './pinned-server.ts';

export const ZIPF = { exponent: 1, draws: 200_000, script: path.join(import.meta.dirname, 'zipf.lua') };

export interface LoadOptions {
  /** A file with the address of a narinfo a line. */
  readonly narInfoList: string;
  readonly clients: number;
  readonly seconds: number;
}

export interface Load {
  readonly requests: number;
  readonly perSecond: number;
  readonly p99Ms: number;
  readonly cpuMicroseconds: number;
  /** Share of the time in which the server's core was at work for it. */
  readonly busy: number;
}

export async function loadNarInfos(
  where: NixEnvironment,
  server: PinnedServer,
  { narInfoList, clients, seconds: duration }: LoadOptions,
): Promise<Load> {
  const options = ['-t', '1', '-c', `${clients}`, '-d', `${duration}s`, '--latency', '-s', ZIPF.script];
  const list = [narInfoList, `${ZIPF.exponent}`, `${ZIPF.draws}`];
  const before = await server.cpuSeconds();
  const { stdout } = await where.run('taskset', ['-c', ONE_CLIENT_CORE, 'wrk', ...options, server.url, '--', ...list]);
  const cpuSeconds = (await server.cpuSeconds()) - before;
  const found = /(\d+) requests in ([\d.]+)s/.exec(stdout);
  const latency = /99%\s+([\d.]+)(us|ms|s)/.exec(stdout);
  if (found === null || latency === null || /Non-2xx|Socket errors/.test(stdout)) throw new Error(stdout);
  const [requests, seconds] = [Number(found[1]), Number(found[2])];
  const millisecondsPerUnit = { us: 0.001, ms: 1, s: 1000 }[latency[2] ?? ''] ?? Number.NaN;
  return {
    requests,
    perSecond: requests / seconds,
    p99Ms: Number(latency[1]) * millisecondsPerUnit,
    cpuMicroseconds: (cpuSeconds / requests) * 1e6,
    busy: cpuSeconds / seconds,
  };
}
