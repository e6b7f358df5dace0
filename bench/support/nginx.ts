// nginx before a folder: a web server that costs next to nothing, so that the measured programs have the machine.

import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { NixEnvironment } from '../../test/support/nix.ts';
import type { RunningProcess } from '../../test/support/run.ts';

export interface Nginx extends AsyncDisposable {
  readonly port: number;
}

/** Serves `directory` on 127.0.0.1:`port`, in the network of `where`. */
export async function startNginx(where: NixEnvironment, directory: string, port: number): Promise<Nginx> {
  const prefix = path.join(where.directory, `nginx-${port}`);
  await mkdir(prefix, { recursive: true });
  await writeFile(path.join(prefix, 'nginx.conf'), configuration(directory, port));
  const running: RunningProcess = where.start('nginx', ['-p', prefix, '-c', 'nginx.conf', '-e', 'stderr']);
  const probe = ['--silent', '--fail', '--output', '/dev/null', '--retry', '50', '--retry-connrefused'];
  await where.run('curl', [...probe, '--retry-delay', '1', `http://127.0.0.1:${port}/nix-cache-info`]);
  return { port, [Symbol.asyncDispose]: running[Symbol.asyncDispose] };
}

function configuration(directory: string, port: number): string {
  return `
daemon off;
user root;
worker_processes 2;
pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000;
  open_file_cache max=4096;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {
    listen 127.0.0.1:${port};
    root ${directory};
  }
}
`;
}
