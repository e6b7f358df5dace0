import { pathToFileURL } from 'node:url';
import { NixferryError } from '../base/errors.ts';
import type { LocalStore } from '../evaluate/local-store.ts';
import { runNix } from '../evaluate/nix-command.ts';
import type { StorePath } from '../nix/index.ts';
import type { BuildSource } from '../sources/source-supply.ts';

export interface RealiseOptions {
  readonly localStore: LocalStore;
  /** Makes a derivation valid in the local store that was evaluated elsewhere. */
  readonly bring: (drvPath: StorePath, signal: AbortSignal) => Promise<void>;
}

/** The real builder, run by the installed Nix with all that it knows of the network: for git, and for what a lock file names. */
export function realiseSources({ localStore, bring }: RealiseOptions): BuildSource {
  return async ({ drvPath, storePath }, { mirrorDirectory, signal }) => {
    const present = await localStore.query([drvPath], signal);
    if (!present.has(drvPath)) await bring(drvPath, signal);
    // The tools of a fetcher may have to be built, too; for whoever is trusted, from the sources that were fetched already.
    const args = ['--option', 'extra-substituters', pathToFileURL(mirrorDirectory).href, '--realise', drvPath];
    await runNix('nix-store', args, { purpose: `building ${storePath}`, signal });
    const built = (await localStore.query([storePath], signal)).get(storePath);
    if (built === undefined) {
      throw new NixferryError('nix-failed', `${storePath} was built and is gone`, {
        hint: 'type the same command again, while nothing collects garbage',
      });
    }
    return { references: built.references, nar: () => localStore.nar(storePath) };
  };
}
