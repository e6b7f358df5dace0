// A LAN with a thin line: an upstream made by real Nix, a caching proxy before it, and clients that know nothing but the proxy.

import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { publicKeyLine } from './carry.ts';
import { createNixEnvironment, type NixEnvironment } from './nix.ts';
import { nixferryCommand } from './nixferry.ts';
import type { RunningProcess } from './run.ts';
import { startUnreliableServer, type UnreliableServer } from './unreliable-server.ts';
import { makeUpstream, type TestUpstream, type UpstreamCompression } from './upstream.ts';

export interface ProxyJourney extends AsyncDisposable {
  /** Where the paths were built. */
  readonly connected: NixEnvironment;
  readonly upstream: TestUpstream;
  readonly line: UnreliableServer;
  readonly mirror: string;
  readonly url: string;
  readonly publicKey: string;
  readonly proxy: RunningProcess;
  restart(): Promise<void>;
}

export async function openProxyJourney(options: {
  readonly paths: number;
  readonly compressions?: readonly UpstreamCompression[];
  readonly port: number;
  readonly flags?: readonly string[];
}): Promise<ProxyJourney> {
  const cleanUp = new AsyncDisposableStack();
  try {
    const connected = cleanUp.use(await createNixEnvironment());
    const { paths, compressions, port, flags = [] } = options;
    const upstream = await makeUpstream({ nix: connected, paths, compressions });
    const line = cleanUp.use(await startUnreliableServer({ directory: upstream.directory }));
    const mirror = path.join(connected.directory, 'lan/mirror');
    await mkdir(path.dirname(mirror), { recursive: true });
    const listen = ['--listen', `127.0.0.1:${port}`, '--workers', '2'];
    const trust = ['--upstream', line.url, '--trusted-public-key', upstream.publicKey];
    const start = async (): Promise<RunningProcess> => {
      const started = connected.start(nixferryCommand, ['serve', '--mirror', mirror, ...listen, ...trust, ...flags]);
      await started.waitForOutput(/^serving .* on http/m);
      return started;
    };
    let proxy = await start();
    cleanUp.defer(() => proxy[Symbol.asyncDispose]());
    const publicKey = publicKeyLine(await connected.run(nixferryCommand, ['keys', 'show', '--mirror', mirror]));
    return {
      connected,
      upstream,
      line,
      mirror,
      url: `http://127.0.0.1:${port}`,
      publicKey,
      get proxy() {
        return proxy;
      },
      restart: async () => {
        await proxy.stop();
        proxy = await start();
      },
      [Symbol.asyncDispose]: () => cleanUp.disposeAsync(),
    };
  } catch (error) {
    await cleanUp.disposeAsync();
    throw error;
  }
}

/** Waits until as many narinfos are in the mirror as there are paths. */
export async function waitForPaths(nix: NixEnvironment, mirror: string, count: number): Promise<void> {
  const script =
    'for try in $(seq 600); do if [ "$(ls "$0" | grep -c narinfo)" -ge "$1" ]; then exit; fi; sleep 0.1; done; exit 1';
  await nix.run('/bin/sh', ['-euc', script, mirror, String(count)]);
}
