// A site that uses the tests' package set: the machine `web01`, once as a flake and once for channels. Its flake has inputs
// of every kind: a tarball, a git repository with inputs of its own (one follows, one does not), one that is no flake, and
// a folder beside it. Its configuration contains a package that is known only after building (import from derivation).

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { formatHash, hashBytes } from '../../src/nix/hash.ts';
import { narHashOf, readTree, tarballOf, writeTree } from './file-tree.ts';
import type { NixEnvironment } from './nix.ts';
import type { PackageSet } from './package-set.ts';
import { putRepository } from './package-sources.ts';
import { run } from './run.ts';

const FIXTURE = path.join(import.meta.dirname, '../fixtures/package-set');
const CHANNEL = 'nixos-99.11';

export interface PackageSite {
  /** The folder of `flake.nix`, locked; its outputs: nixosConfigurations.web01, packages hello, tmux, ripgrep, report (its own), devShells. */
  readonly directory: string;
  /** `path:<directory>#nixosConfigurations.web01` */
  readonly installable: string;
  /** The same machine as `nixos-config` for `<nixpkgs/nixos>`; fetches a tarball and a file while it is evaluated. */
  readonly configuration: string;
  /** A derivation for which evaluation fetches with git. */
  readonly fetchGit: string;
  /** For `channel:` roots and nix-channel: has nixexprs.tar.xz. */
  readonly channelUrl: string;
  readonly system: string;
}

export interface PackageSiteOptions {
  readonly set: PackageSet;
  /** The Nix that writes flake.lock. */
  readonly nix: NixEnvironment;
  /** `<set>/site` unless given. */
  readonly directory?: string | undefined;
}

/** Puts on the internet what the site refers to, writes the site and locks its flake; builds nothing. */
export async function makePackageSite({ set, nix, ...options }: PackageSiteOptions): Promise<PackageSite> {
  const directory = options.directory ?? path.join(set.directory, 'site');
  const system = await currentSystem(nix);
  const words: Record<string, string> = { internet: set.internet.url, system };
  const internet = (name: string) => path.join(set.internet.directory, name);
  const tree = (name: string) => readTree(path.join(FIXTURE, name), words);

  await mkdir(internet(`nixpkgs/archive`), { recursive: true });
  await mkdir(internet(`channels/${CHANNEL}`), { recursive: true });
  const nixpkgs = await readTree(set.nixpkgs);
  await writeFile(internet('nixpkgs/archive/99.11.tar.gz'), await tarballOf(nixpkgs, 'nixpkgs-99.11'));
  // nix-channel asks for the folder itself before it asks for anything in it.
  await writeFile(internet(`channels/${CHANNEL}/index.html`), '<p>Files of a channel.</p>\n');
  await run('/bin/sh', [
    '-euc',
    'gunzip < "$0" | xz -1 > "$1"',
    internet('nixpkgs/archive/99.11.tar.gz'),
    internet(`channels/${CHANNEL}/nixexprs.tar.xz`),
  ]);
  for (const name of ['utils', 'dotfiles', 'extra-module']) {
    await writeFile(internet(`${name}.tar.gz`), await tarballOf(await tree(`internet/${name}`), name));
  }
  const motd = await readFile(path.join(FIXTURE, 'internet/dotfiles/motd'));
  await writeFile(internet('motd'), motd);
  const hardware = await putRepository(set.internet.directory, 'hardware', await tree('internet/hardware'));

  words['hardware'] = hardware.rev ?? '';
  words['motd'] = formatHash(hashBytes('sha256', motd), 'nix32', { prefix: false });
  words['extra-module'] = formatHash(await narHashOf(await tree('internet/extra-module')), 'nix32', { prefix: false });
  await writeTree(directory, await tree('site'));
  await nix.run('nix', ['flake', 'lock', `path:${directory}`]);
  return {
    directory,
    installable: `path:${directory}#nixosConfigurations.web01`,
    configuration: path.join(directory, 'channel.nix'),
    fetchGit: path.join(directory, 'fetch-git.nix'),
    channelUrl: `${set.internet.url}/channels/${CHANNEL}`,
    system,
  };
}

async function currentSystem(nix: NixEnvironment): Promise<string> {
  const { stdout } = await nix.run('nix-instantiate', ['--eval', '--json', '-E', 'builtins.currentSystem']);
  return JSON.parse(stdout) as string;
}
