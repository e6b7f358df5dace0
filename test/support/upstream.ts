// A binary cache made by real Nix of paths that real Nix built: what a connected machine would find on the internet.

import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { NixEnvironment } from './nix.ts';

export type UpstreamCompression = 'xz' | 'zstd' | 'bzip2' | 'gzip' | 'br' | 'none';

export interface UpstreamOptions {
  /** Where Nix is and where the paths are built. */
  readonly nix: NixEnvironment;
  /** How many store paths, the root included. */
  readonly paths: number;
  /** Each compresses a share of the paths, in this order; all xz unless given. */
  readonly compressions?: readonly UpstreamCompression[] | undefined;
  /** 'upstream-1' unless given. */
  readonly keyName?: string | undefined;
  /** Distinguishes two upstreams of the same environment; part of every path's name. */
  readonly name?: string | undefined;
  /** Also `HASH.ls` files. */
  readonly listings?: boolean | undefined;
  /** How long the largest file is, roughly; 2 MB unless given. */
  readonly largestFileBytes?: number | undefined;
}

export interface TestUpstream {
  /** The `file://` binary cache. */
  readonly directory: string;
  /** `name:base64`, as in trusted-public-keys. */
  readonly publicKey: string;
  /** Refers to every other path, directly or through others. */
  readonly root: string;
  /** All paths, references before referrers; the last one is the root. */
  readonly paths: readonly string[];
}

/** Builds the paths (400 take about 10 s) and copies them with `nix copy` into `<environment>/upstream-<name>`. */
export async function makeUpstream(options: UpstreamOptions): Promise<TestUpstream> {
  const { nix, compressions = ['xz'], keyName = 'upstream-1', name = 'carried' } = options;
  const directory = path.join(nix.directory, `upstream-${name}`);
  const secretKeyFile = path.join(nix.directory, `upstream-${name}.secret`);
  const publicKeyFile = path.join(nix.directory, `upstream-${name}.public`);
  await mkdir(directory, { recursive: true });
  await nix.run('nix-store', ['--generate-binary-cache-key', keyName, secretKeyFile, publicKeyFile]);

  const paths = await nix.build(closureExpression(name, options.paths, options.largestFileBytes ?? 2_000_000));
  const root = paths.at(-1);
  if (root === undefined) throw new Error('an upstream needs at least one path');
  // References come before referrers in `paths`, so every share is closed once those before it are there.
  for (const [index, compression] of compressions.entries()) {
    const share = paths.slice(0, Math.ceil((options.paths * (index + 1)) / compressions.length));
    const url = new URL(`file://${directory}`);
    url.searchParams.set('compression', compression);
    url.searchParams.set('secret-key', secretKeyFile);
    if (options.listings === true) url.searchParams.set('write-nar-listing', '1');
    await nix.run('nix', ['copy', '--to', url.href, ...share], { timeoutMs: 600_000 });
  }
  return { directory, publicKey: (await readFile(publicKeyFile, 'utf8')).trim(), root, paths };
}

/**
 * A list of `count` derivations, each referring to earlier ones only, the last to all that nothing else refers to. They
 * are small but of all kinds: executables, links, empty folders, self-references, names that are not UTF-8, a few large files.
 */
export function closureExpression(name: string, count: number, largestFileBytes: number): string {
  return `
let
  count = ${count};
  minus = a: b: if a > b then a - b else 0;
  mod = a: b: a - (a / b) * b;
  node = i:
    let
      isRoot = i == count - 1;
      earlier = if i == 0 then [ ]
        else if isRoot then builtins.genList (k: i / 3 + k) (i - i / 3)
        else [ (i / 3) ] ++ (if mod i 4 == 0 then [ (minus i 7) ] else [ ]);
    in derivation {
      name = if isRoot then "${name}-root" else "${name}-\${toString i}";
      system = builtins.currentSystem;
      builder = "/bin/sh";
      PATH = "/usr/bin:/bin";
      args = [ "-euc" ''
        mkdir -p $out/bin $out/share/empty
        printf '#!/bin/sh\\necho %s\\n' $name > $out/bin/$name
        chmod +x $out/bin/$name
        printf '%s\\n' $references > $out/share/references
        ln -s ../share/references $out/bin/link
        seq $number $((number + lines)) > $out/share/payload
        if [ $((number % 5)) = 0 ]; then echo $out > $out/share/self; fi
        if [ $((number % 50)) = 3 ]; then echo odd > "$out/share/$(printf 'sp ace \\303\\244 \\377')"; fi
      '' ];
      number = i;
      lines = if mod i 100 == 1 then ${Math.ceil(largestFileBytes / 7)} else 20 + mod (i * 37) 900;
      references = map (j: builtins.elemAt nodes j) earlier;
    };
  nodes = builtins.genList node count;
in nodes
`;
}
