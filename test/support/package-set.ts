// A package set in the manner of nixpkgs and NixOS, of the tests' own: test/fixtures/package-set, together with the
// internet from which it fetches its sources, and a public cache that has what a continuous build has made.
//
// <set>/nixpkgs is a channel (`NIX_PATH=nixpkgs=…`, `<nixpkgs/nixos>`) and a flake (`lib.nixosSystem`, `legacyPackages`).
// Attributes of `import <nixpkgs> { }` that tests may rely on (nothing else is promised):
//   bootstrapBusybox        builtin:fetchurl, executable: the hash is that of a NAR     bootstrapTools   the same, unpacked
//   bash coreutils gnused … (15)   stage 0, sources by builtin:fetchurl (flat)          stdenv           final standard environment
//   kmod (out dev lib)      of which `linux` and initrds want `dev` alone, which refers to no other output
//   zlib openssl zstd systemd util-linux jq …    several outputs; default output not always `out` (openssl, zstd, jq: bin; expat: dev)
//   hello tree htop nano    plain packages      tmux   structured attributes
//   glibcLocales            `.override { locales }`; the public cache has it for the default locales only
//   fish                    source: recursive, GitHub archive; patch: flat with postFetch       tldr   source: git
//   openssl                 source: mirror://gnu, sha256 in nix32       pcre2   first address dead, sha512 in hex
//   zstd                    source: fetchurl with structured attributes
//   ripgrep gum             a vendor folder as fixed output (cargoDeps, goModules)
//   fromTable               import from derivation (generatedExpression); no public cache has either
//   jobs                    name → derivation: what the public cache was made from
//   nixos { modules… }      → .config .options .system (toplevel) .extendModules; also `nixos { imports = [ … ]; }`
// Every package has `.src`, a fixed output. public-cache.ts makes the cache, package-site.ts a site with a
// flake and a channel, package-crossing.ts both sides' beginnings, package-client.ts a machine that rebuilds.

import { cp, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { answerGit } from './git-server.ts';
import type { NixEnvironment } from './nix.ts';
import { type PackageSources, writePackageSources } from './package-sources.ts';
import type { RunOptions } from './run.ts';
import { type StaticServer, serveDirectory } from './static-server.ts';

const FIXTURE = path.join(import.meta.dirname, '../fixtures/package-set');

export interface PackageSetOptions {
  readonly nix: NixEnvironment;
  /** `<environment>/package-set` unless given. */
  readonly directory?: string | undefined;
  /** Where somebody else serves the internet's files (and answers git, see git-server.ts); served on loopback by the set itself unless given. */
  readonly internetUrl?: string | undefined;
}

export interface PackageSet extends AsyncDisposable {
  readonly directory: string;
  /** The channel, which is also a flake. */
  readonly nixpkgs: string;
  readonly sources: PackageSources;
  readonly internet: {
    readonly url: string;
    /** The files that are served, at their paths. */
    readonly directory: string;
    /** Absent when somebody else serves. */
    readonly server: StaticServer | undefined;
  };
  /** Runs a Nix program with `<nixpkgs>` being the set, in the set's environment unless in another; resolves to its lines. */
  nix(command: string, args: readonly string[], where?: NixEnvironment, options?: RunOptions): Promise<string[]>;
  /** `.drv` paths of attributes, or of a whole expression that begins with `(`. */
  instantiate(attributes: readonly string[], where?: NixEnvironment): Promise<string[]>;
  /** Output paths of the same. */
  build(attributes: readonly string[], where?: NixEnvironment): Promise<string[]>;
}

/** Writes the set and its internet (in about 2 s) and serves the latter; builds nothing. */
export async function makePackageSet(options: PackageSetOptions): Promise<PackageSet> {
  const directory = options.directory ?? path.join(options.nix.directory, 'package-set');
  const internetDirectory = path.join(directory, 'internet');
  const nixpkgs = path.join(directory, 'nixpkgs');
  await mkdir(internetDirectory, { recursive: true });
  await cp(path.join(FIXTURE, 'nixpkgs'), nixpkgs, { recursive: true });
  const sources = await writePackageSources(internetDirectory);
  const server = options.internetUrl === undefined ? await serveDirectory(internetDirectory, answerGit) : undefined;
  const url = options.internetUrl ?? server?.url ?? '';
  await writeFile(path.join(nixpkgs, 'pkgs/internet.json'), `${JSON.stringify({ url, sources }, undefined, 2)}\n`);

  const nix: PackageSet['nix'] = (command, args, where = options.nix, runOptions = {}) =>
    where.lines(command, args, {
      timeoutMs: 300_000,
      env: { ...where.env, NIX_PATH: `nixpkgs=${nixpkgs}` },
      ...runOptions,
    });
  return {
    directory,
    nixpkgs,
    sources,
    internet: { url, directory: internetDirectory, server },
    nix,
    instantiate: async (attributes, where) => {
      const lines = await nix('nix-instantiate', ['--quiet', ...expressions(attributes)], where);
      // Nix adds the output (`!bin`) where it is not `out`.
      return lines.map((line) => line.replace(/!.*$/, ''));
    },
    build: (attributes, where) => nix('nix-build', ['--no-out-link', '--quiet', ...expressions(attributes)], where),
    [Symbol.asyncDispose]: async () => {
      await server?.[Symbol.asyncDispose]();
    },
  };
}

function expressions(attributes: readonly string[]): string[] {
  return attributes.flatMap((attribute) => [
    '-E',
    attribute.startsWith('(') ? `with import <nixpkgs> { }; ${attribute}` : `(import <nixpkgs> { }).${attribute}`,
  ]);
}
