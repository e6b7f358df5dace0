// A machine of the isolated side that has the configuration of the package set's site, changes it, and rebuilds itself.

import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { RootRecord } from '../../src/mirror/roots.ts';
import type { Site } from './carry.ts';
import { createNixEnvironment, type NixEnvironment } from './nix.ts';
import { nixferryCommand } from './nixferry.ts';
import type { PackageSite } from './package-site.ts';
import type { RunResult } from './run.ts';

export interface PackageClient extends AsyncDisposable {
  readonly nix: NixEnvironment;
  /** Its own copy of the site's folder. */
  readonly directory: string;
  /** Writes settings into the configuration, in place of those that were written before. */
  change(settings: string): Promise<void>;
  /** Evaluates the system of the flake; resolves to its `.drv` file. */
  instantiateFlake(): Promise<string>;
  /** Builds the system of the flake with `nix build`; its path is what stdout says. */
  rebuildFlake(exitCode?: 'any'): Promise<RunResult>;
  /** Fetches what evaluation reads into the store, as Nix of before 2.32 wants it; resolves to the paths by their names. */
  prime(): Promise<ReadonlyMap<string, string>>;
  /** Builds the site's own program, from its flake or with `nixpkgs` from its file; resolves to its path. */
  rebuildReport(nixpkgs?: string): Promise<string>;
  /** Builds the system of the channel with `nix-build '<nixpkgs/nixos>'`. */
  rebuildChannel(nixpkgs: string, exitCode?: 'any'): Promise<RunResult>;
}

export interface PackageClientOptions {
  readonly site: Site;
  /** What the client's copy is made from. */
  readonly origin: PackageSite;
  readonly chroot?: string | undefined;
  /** Folders that are seen inside the chroot. */
  readonly shared?: readonly string[] | undefined;
}

/** Opens a client with an empty store in the site's air gap, configured as `nixferry client-config` says. */
export async function openPackageClient({
  site,
  origin,
  chroot,
  shared,
}: PackageClientOptions): Promise<PackageClient> {
  const flags = ['--format', 'nix-conf', '--flakes', '--url', site.url, '--public-key', site.publicKey];
  const config = (await site.gap.run(nixferryCommand, ['client-config', ...flags])).stdout.split('\n');
  const nix = await createNixEnvironment({ network: site.gap.namespace, chroot, shared, config });
  const directory = path.join(nix.directory, 'site');
  await cp(origin.directory, directory, { recursive: true });
  const configuration = path.join(directory, 'configuration.nix');
  const original = await readFile(configuration, 'utf8');
  await writeFile(path.join(directory, 'change.nix'), '{ }\n');
  await writeFile(configuration, original.replace('imports = [ ', 'imports = [ ./change.nix '));

  const toplevel = `path:${directory}#nixosConfigurations.web01.config.system.build.toplevel`;
  // With no network card but loopback, Nix up to 2.3x believes that fetching is useless; a real site has a LAN.
  const hasNetwork = ['--option', 'substitute', 'true'];
  return {
    nix,
    directory,
    change: (settings) => writeFile(path.join(directory, 'change.nix'), `{ pkgs, lib, ... }: {\n${settings}\n}\n`),
    instantiateFlake: async () => {
      const { stdout } = await nix.run('nix', ['eval', '--raw', `${toplevel}.drvPath`, ...hasNetwork]);
      return stdout.trim();
    },
    rebuildFlake: async (exitCode) => {
      const result = await nix.run('nix', ['build', '--json', '--no-link', toplevel, ...hasNetwork], { exitCode });
      const [built] = result.exitCode === 0 ? (JSON.parse(result.stdout) as { outputs: { out: string } }[]) : [];
      return { ...result, stdout: built?.outputs.out ?? '' };
    },
    rebuildReport: async (nixpkgs) => {
      if (nixpkgs === undefined) {
        const args = ['build', '--json', '--no-link', `path:${directory}#report`, ...hasNetwork];
        const [built] = JSON.parse((await nix.run('nix', args)).stdout) as { outputs: { out: string } }[];
        return built?.outputs.out ?? '';
      }
      const file = path.join(directory, 'default.nix');
      const args = ['--no-out-link', file, '-A', 'report', '-I', `nixpkgs=${nixpkgs}`];
      return (await nix.run('nix-build', args)).stdout.trim();
    },
    prime: async () => {
      const inputs = await evaluationInputs(site.mirror);
      await nix.run('nix-store', ['--realise', ...inputs.values()]);
      return inputs;
    },
    rebuildChannel: async (nixpkgs, exitCode) => {
      const paths = ['-I', `nixpkgs=${nixpkgs}`, '-I', `nixos-config=${path.join(directory, 'channel.nix')}`];
      const args = ['--no-out-link', '<nixpkgs/nixos>', '-A', 'system', ...paths, ...hasNetwork];
      const result = await nix.run('nix-build', args, { exitCode });
      return { ...result, stdout: result.stdout.trim() };
    },
    [Symbol.asyncDispose]: nix[Symbol.asyncDispose],
  };
}

async function evaluationInputs(mirror: string): Promise<Map<string, string>> {
  const folder = path.join(mirror, '.nixferry/roots');
  const paths = new Map<string, string>();
  for (const file of await readdir(folder)) {
    const { evaluationInputs: inputs = [] } = JSON.parse(await readFile(path.join(folder, file), 'utf8')) as RootRecord;
    for (const { name, path: baseName } of inputs) paths.set(name, `/nix/store/${baseName}`);
  }
  return paths;
}
