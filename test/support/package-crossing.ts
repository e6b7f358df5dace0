// The connected side of a crossing with the tests' package set: its internet, its public cache behind a web server, a site
// whose configuration is to be carried, and a machine with Nix that has built nothing of all this itself.

import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { exportRootToMedium, type Medium } from './carry.ts';
import { createNixEnvironment, type NixEnvironment } from './nix.ts';
import { makePackageSet, type PackageSet } from './package-set.ts';
import { makePackageSite, type PackageSite } from './package-site.ts';
import { type PublicCache, publicCache } from './public-cache.ts';
import { type StaticServer, serveDirectory } from './static-server.ts';

export interface PackageCrossing extends AsyncDisposable {
  readonly set: PackageSet;
  readonly cache: PublicCache;
  readonly upstream: StaticServer;
  readonly connected: NixEnvironment;
  /** The site's folder as it is on the connected side. */
  readonly origin: PackageSite;
  /** Flags of `collect`, `plan` and `export` that name the public cache. */
  readonly trust: readonly string[];
  /** `nixferry export` of the flake's machine, or of `root`, into a folder `name` of its own. */
  export(name: string, flags?: readonly string[], root?: readonly string[]): Promise<Medium>;
  /** Flags that name the same machine by `<nixpkgs/nixos>`. */
  readonly channelRoot: readonly string[];
}

/** Takes about 15 s; nothing else builds as much. */
export async function openPackageCrossing(): Promise<PackageCrossing> {
  const cleanUp = new AsyncDisposableStack();
  try {
    const builder = cleanUp.use(await createNixEnvironment());
    const set = cleanUp.use(await makePackageSet({ nix: builder }));
    const cache = await publicCache({ set, nix: builder });
    const upstream = cleanUp.use(await serveDirectory(cache.directory));
    const config = [`substituters = ${upstream.url}`, `trusted-public-keys = ${cache.publicKey}`];
    const connected = cleanUp.use(await createNixEnvironment({ config }));
    const origin = await makePackageSite({ set, nix: connected });
    return {
      set,
      cache,
      upstream,
      connected,
      origin,
      trust: ['--upstream', upstream.url, '--trusted-public-key', cache.publicKey],
      export: async (name, flags = [], root = [origin.installable]) => {
        const directory = path.join(connected.directory, name);
        await mkdir(directory);
        const from = { url: upstream.url, publicKey: cache.publicKey };
        return exportRootToMedium({ nix: connected, root, ...from, site: 'lab', directory, flags });
      },
      channelRoot:
        `-f <nixpkgs/nixos> -A system -I nixpkgs=${set.nixpkgs} -I nixos-config=${origin.configuration}`.split(' '),
      [Symbol.asyncDispose]: () => cleanUp.disposeAsync(),
    };
  } catch (error) {
    await cleanUp.disposeAsync();
    throw error;
  }
}
