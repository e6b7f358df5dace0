// The connected side of a crossing of sources: an upstream that has nothing, an internet that fails in every way, and a machine with
// Nix that has built nothing.

import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { openSite, publicKeyLine, type Site } from './carry.ts';
import { answerGit } from './git-server.ts';
import { createNixEnvironment, type NixEnvironment } from './nix.ts';
import { nixferryCommand } from './nixferry.ts';
import { makePackageSet, type PackageSet } from './package-set.ts';
import type { RunResult } from './run.ts';
import { startUnreliableServer, type UnreliableServer } from './unreliable-server.ts';

export interface SourcesCrossing extends AsyncDisposable {
  readonly nix: NixEnvironment;
  readonly set: PackageSet;
  readonly internet: UnreliableServer;
  /** A binary cache without a path. */
  readonly emptyUpstream: string;
  readonly mirror: string;
  /** `nixferry collect` of packages at `rebuild`, sources alone; with the exit code that is expected. */
  collect(attributes: readonly string[], flags?: readonly string[], exitCode?: number): Promise<RunResult>;
  /** The arguments of the same, for whoever runs it otherwise; with `env`. */
  collectArguments(attributes: readonly string[], mirror: string, flags?: readonly string[]): string[];
  readonly env: Readonly<Record<string, string>>;
  /** Carries what is collected over a gap, where it is served. */
  openSite(): Promise<Site>;
}

export async function openSourcesCrossing(): Promise<SourcesCrossing> {
  const cleanUp = new AsyncDisposableStack();
  try {
    const nix = cleanUp.use(await createNixEnvironment());
    const directory = path.join(nix.directory, 'package-set');
    const internetFolder = path.join(directory, 'internet');
    await mkdir(internetFolder, { recursive: true });
    const internet = cleanUp.use(await startUnreliableServer({ directory: internetFolder, answerItself: answerGit }));
    const set = cleanUp.use(await makePackageSet({ nix, directory, internetUrl: internet.url }));
    const emptyFolder = path.join(nix.directory, 'empty-cache');
    await mkdir(path.join(emptyFolder, 'nar'), { recursive: true });
    await writeFile(path.join(emptyFolder, 'nix-cache-info'), 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n');
    const mirror = path.join(nix.directory, 'mirror');
    const emptyUpstream = `file://${emptyFolder}`;
    const cache = path.join(nix.directory, 'cache');
    const env = { ...nix.env, NIX_PATH: `nixpkgs=${set.nixpkgs}`, XDG_CACHE_HOME: cache };
    const collectArguments: SourcesCrossing['collectArguments'] = (attributes, into, flags = []) => [
      'collect',
      '-f',
      '<nixpkgs>',
      ...attributes.flatMap((attribute) => ['-A', attribute]),
      '--scope',
      'rebuild',
      '--sources-only',
      '--upstream',
      emptyUpstream,
      '--mirror',
      into,
      ...(flags.includes('--tarballs-mirror') ? [] : ['--tarballs-mirror', 'none']),
      ...flags,
    ];
    return {
      nix,
      set,
      internet,
      emptyUpstream,
      mirror,
      env,
      collectArguments,
      collect: (attributes, flags, exitCode = 0) =>
        nix.run(nixferryCommand, collectArguments(attributes, mirror, flags), { env, exitCode, timeoutMs: 300_000 }),
      openSite: async () => {
        const medium = path.join(nix.directory, 'medium');
        const args = ['--mirror', mirror, '--to', medium, '--site', 'lab', '--no-tools'];
        await nix.run(nixferryCommand, ['pack', ...args]);
        const senderKey = publicKeyLine(await nix.run(nixferryCommand, ['keys', 'show', '--mirror', mirror]));
        return openSite({ directory: medium, mirror, senderKey });
      },
      [Symbol.asyncDispose]: () => cleanUp.disposeAsync(),
    };
  } catch (error) {
    await cleanUp.disposeAsync();
    throw error;
  }
}
