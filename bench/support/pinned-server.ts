// Servers that have one core for themselves, and what they cost: processor time and memory, as the kernel counts them.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import type { NixEnvironment } from '../../test/support/nix.ts';
import { nixferryCommand } from '../../test/support/nixferry.ts';
import type { RunningProcess } from '../../test/support/run.ts';

/** The core that servers get, and those that clients get. */
export const SERVER_CORE = '0';
export const CLIENT_CORES = availableParallelism() > 1 ? `1-${availableParallelism() - 1}` : '0';
export const ONE_CLIENT_CORE = availableParallelism() > 1 ? '1' : '0';

export interface PinnedServer extends AsyncDisposable {
  readonly name: string;
  readonly url: string;
  /** From starting it to its first answer. */
  readonly startSeconds: number;
  cpuSeconds(): Promise<number>;
  memoryMb(): Promise<number>;
}

export async function startNixferry(
  where: NixEnvironment,
  options: { readonly mirror: string; readonly port: number; readonly flags?: readonly string[] },
): Promise<PinnedServer> {
  const { mirror, port, flags = [] } = options;
  const listen = ['--listen', `127.0.0.1:${port}`, '--workers', '1'];
  const args = ['-c', SERVER_CORE, nixferryCommand, 'serve', '--mirror', mirror, ...listen, ...flags];
  return watch(where, 'nixferry serve', port, where.start('taskset', args), async (pid) => pid);
}

/** nginx set up as one would for this: sendfile, no log, descriptors of files kept open. `locations` come before the files of the folder. */
export async function startPinnedNginx(
  where: NixEnvironment,
  options: {
    readonly directory: string;
    readonly port: number;
    readonly locations?: string;
    /** Beside the server, such as where a cache lies. */
    readonly settings?: string;
    readonly core?: string;
  },
): Promise<PinnedServer> {
  const { directory, port, locations = '', settings = '', core = SERVER_CORE } = options;
  const prefix = path.join(where.directory, `pinned-nginx-${port}`);
  await mkdir(prefix, { recursive: true });
  await writeFile(path.join(prefix, 'nginx.conf'), nginxConfiguration(directory, port, locations, settings));
  const args = ['-c', core, 'nginx', '-p', prefix, '-c', 'nginx.conf', '-e', 'stderr'];
  return watch(where, 'nginx', port, where.start('taskset', args), async (pid) => {
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return Number(children.trim().split(' ')[0]);
  });
}

async function watch(
  where: NixEnvironment,
  name: string,
  port: number,
  running: RunningProcess,
  findPid: (started: number) => Promise<number>,
): Promise<PinnedServer> {
  const started = performance.now();
  const url = `http://127.0.0.1:${port}`;
  const script = 'until curl --silent --fail --output /dev/null "$0"; do sleep 0.005; done';
  await Promise.race([
    where.run('taskset', ['-c', ONE_CLIENT_CORE, '/bin/sh', '-c', script, `${url}/nix-cache-info`]),
    running.done.then(({ stderr }) => Promise.reject(new Error(`${name} ended: ${stderr}`))),
  ]);
  const startSeconds = (performance.now() - started) / 1000;
  const pid = await findPid(running.child.pid ?? 0);
  return {
    name,
    url,
    startSeconds,
    cpuSeconds: async () => {
      const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
      // After the name, which may hold anything, utime and stime are the 12th and 13th field; the kernel shows hundredths of a second.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return (Number(fields[11]) + Number(fields[12])) / 100;
    },
    memoryMb: async () => {
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1000;
    },
    [Symbol.asyncDispose]: running[Symbol.asyncDispose],
  };
}

function nginxConfiguration(directory: string, port: number, locations: string, settings: string): string {
  return `
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  open_file_cache max=10000;
  types { text/x-nix-narinfo narinfo; application/x-nix-nar nar xz zst; }
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  ${settings}
  server {
    listen 127.0.0.1:${port};
    ${locations}
    root ${directory};
  }
}
`;
}
