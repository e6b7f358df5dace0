// A project without flakes whose inputs are pinned, as niv and npins write it: sources by address and hash in a JSON file, fetched by `fetchTarball`.

import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { formatHash } from '../../src/nix/hash.ts';
import { type FileTree, narHashOf, readTree, tarballOf } from './file-tree.ts';
import type { PackageCrossing } from './package-crossing.ts';

/** Puts what it fetches on the internet; resolves to its folder, whose default.nix is a derivation. What is built says `pinned 1` and where hello is. */
export async function writePinnedProject({ set, connected }: PackageCrossing): Promise<string> {
  const tree: FileTree = { 'word.nix': '"pinned 1"\n' };
  await writeFile(path.join(set.internet.directory, 'words.tar.gz'), await tarballOf(tree, 'words-1'));
  const sha256 = formatHash(await narHashOf(tree), 'nix32', { prefix: false });
  // An archive of its own: that of the site's flake moves on.
  const archive = await tarballOf(await readTree(set.nixpkgs), 'nixpkgs-pinned');
  await writeFile(path.join(set.internet.directory, 'nixpkgs/archive/pinned.tar.gz'), archive);
  const [nixpkgsHash = ''] = await connected.lines('nix-hash', ['--type', 'sha256', '--base32', set.nixpkgs]);
  const sources = {
    words: { url: `${set.internet.url}/words.tar.gz`, sha256 },
    nixpkgs: { url: `${set.internet.url}/nixpkgs/archive/pinned.tar.gz`, sha256: nixpkgsHash },
  };
  const directory = path.join(connected.directory, 'pinned-project');
  await mkdir(path.join(directory, 'nix'), { recursive: true });
  await writeFile(path.join(directory, 'nix/sources.json'), JSON.stringify(sources));
  await writeFile(
    path.join(directory, 'nix/sources.nix'),
    'builtins.mapAttrs (_: { url, sha256 }: builtins.fetchTarball { inherit url sha256; }) (builtins.fromJSON (builtins.readFile ./sources.json))\n',
  );
  await writeFile(
    path.join(directory, 'default.nix'),
    `let sources = import ./nix/sources.nix; pkgs = import sources.nixpkgs { };
in pkgs.stdenv.mkDerivation {
  name = "pinned";
  buildCommand = "echo '\${import (sources.words + "/word.nix")}' > $out; echo \${pkgs.hello} >> $out";
}
`,
  );
  return directory;
}
