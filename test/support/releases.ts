// A program that moves on from version to version, built by real Nix and collected by Nixferry: the connected side of the
// tests of what is sent after the first time.

import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { publicKeyLine } from './carry.ts';
import { createNixEnvironment, type NixEnvironment } from './nix.ts';
import { nixferryCommand } from './nixferry.ts';
import type { RunResult } from './run.ts';

export interface Verdict {
  readonly exitCode: number;
  /** The last line on stdout. */
  readonly fields: Record<string, unknown>;
  readonly stderr: string;
}

export interface Releases extends AsyncDisposable {
  readonly nix: NixEnvironment;
  readonly mirror: string;
  readonly senderKey: string;
  /** The program as it is now: prints its version. Version n refers to `base` and to the libraries 1 to n, one below the other. */
  readonly program: string;
  readonly version: number;
  /** Builds and collects the next version. */
  release(): Promise<void>;
  /** Packs onto a medium of its own; resolves to its folder. */
  pack(site: string, ...flags: string[]): Promise<{ readonly folder: string; readonly verdict: Verdict }>;
  /** Any command in the connected mirror, which may fail. */
  nixferry(...args: string[]): Promise<Verdict>;
}

export async function openReleases(): Promise<Releases> {
  const nix = await createNixEnvironment();
  const at = (...names: string[]) => path.join(nix.directory, ...names);
  const mirror = at('mirror');
  await nix.run('nix-store', ['--generate-binary-cache-key', 'upstream-1', at('secret'), at('public')]);
  const upstreamKey = (await nix.run('cat', [at('public')])).stdout.trim();
  const upstream = `file://${at('upstream')}`;
  await nix.run(nixferryCommand, ['init', '--mirror', mirror]);
  const senderKey = publicKeyLine(await nix.run(nixferryCommand, ['keys', 'show', '--mirror', mirror]));
  let version = 0;
  let program = '';
  let media = 0;
  const nixferry = (...args: string[]) => runJson(nix, [...args, '--mirror', mirror]);
  const releases: Releases = {
    nix,
    mirror,
    senderKey,
    get program() {
      return program;
    },
    get version() {
      return version;
    },
    async release() {
      const [built] = await nix.build(expression(++version));
      if (built === undefined) throw new Error('nothing was built');
      program = built;
      await nix.run('nix', ['copy', '--to', `${upstream}?compression=zstd&secret-key=${at('secret')}`, built]);
      // Its name is what is asked for; what it lists moves on.
      await writeFile(at('wanted'), `${built}\n`);
      const trust = ['--upstream', upstream, '--trusted-public-key', upstreamKey];
      await nix.run(nixferryCommand, ['collect', at('wanted'), ...trust, '--mirror', mirror]);
    },
    async pack(site, ...flags) {
      const folder = at('media', String(++media));
      await mkdir(folder, { recursive: true });
      const verdict = await nixferry('pack', '--site', site, '--to', folder, '--no-tools', ...flags);
      return { folder, verdict };
    },
    nixferry,
    [Symbol.asyncDispose]: nix[Symbol.asyncDispose],
  };
  await releases.release();
  return releases;
}

/** Runs a command with --json; it may fail. */
export async function runJson(nix: NixEnvironment, args: readonly string[]): Promise<Verdict> {
  const result = await nix.run(nixferryCommand, [...args, '--json'], { exitCode: 'any', timeoutMs: 300_000 });
  return { exitCode: result.exitCode ?? -1, fields: lastLine(result), stderr: result.stderr };
}

function lastLine({ stdout }: RunResult): Record<string, unknown> {
  const line = stdout.trimEnd().split('\n').at(-1) ?? '';
  return line === '' ? {} : (JSON.parse(line) as Record<string, unknown>);
}

function expression(version: number): string {
  return `
let
  make = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    args = [ "-euc" script ];
  };
  base = make "base" "seq 1 20000 > $out";
  library = i: if i == 0 then base else make "library-\${toString i}" ''
    mkdir $out; echo \${library (i - 1)} \${base} > $out/uses; seq 1 \${toString (i * 1000)} > $out/data
  '';
in make "program-${version}" ''
  mkdir -p $out/bin
  printf '#!/bin/sh\\nread -r uses < %s/uses && echo version ${version}\\n' \${library ${version}} > $out/bin/program
  chmod +x $out/bin/program
''
`;
}
