// A binary cache with outputs of content-addressed derivations, made by real Nix, and a world without which nobody can build them again.

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createNixEnvironment } from './nix.ts';

export interface ContentAddressedCache extends AsyncDisposable {
  readonly directory: string;
  readonly publicKey: string;
  /** The Nix file: `tool` and its `library` are in the cache, `unknown` and `system` are not. */
  readonly file: string;
  /** The same, with another `system`. */
  expression(setting: string): string;
  /** Acts while neither `library` nor `tool` can be built. */
  withoutInternet(act: () => Promise<void>): Promise<void>;
}

export async function openContentAddressedCache(): Promise<ContentAddressedCache> {
  const builder = await createNixEnvironment();
  const inside = (name: string) => path.join(builder.directory, name);
  const [internet, file, directory] = [inside('internet'), inside('default.nix'), inside('cache')];
  const expression = (setting: string) => expressionWith(internet, setting);
  await writeFile(internet, 'reached\n');
  await writeFile(file, expression('as it was'));
  const [secretFile, publicFile] = [inside('secret'), inside('public')];
  await builder.run('nix-store', ['--generate-binary-cache-key', 'public-1', secretFile, publicFile]);
  await mkdir(directory);
  const sign = ['--option', 'secret-key-files', secretFile];
  await builder.run('nix', ['copy', ...sign, '--to', `file://${directory}`, '-f', file, 'tool']);
  return {
    directory,
    publicKey: (await readFile(publicFile, 'utf8')).trim(),
    file,
    expression,
    withoutInternet: async (act) => {
      await rm(internet);
      try {
        await act();
      } finally {
        await writeFile(internet, 'reached\n');
      }
    },
    [Symbol.asyncDispose]: builder[Symbol.asyncDispose],
  };
}

function expressionWith(internet: string, setting: string): string {
  return `let
  make = name: script: attributes: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-euc" script ];
  } // attributes);
  floating = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
in rec {
  library = make "library" "read -r line < ${internet}; echo library > $out" floating;
  tool = make "tool" "read -r line < ${internet}; echo tool made with \${library} > $out" floating;
  unknown = make "unknown" "echo unknown > $out" floating;
  system = make "system" "echo ${setting} system of \${tool} > $out" { allowSubstitutes = false; };
}
`;
}
