// A store with the derivations of something like a NixOS, made by real Nix once and found in the temp folder later: sources, packages with several
// outputs, and what clients build themselves, up to one system. Nothing is built; beside the store lies what a public cache would say.

import { createWriteStream, existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { finished } from 'node:stream/promises';
import { type Derivation, isFixedOutput, parseDerivation, type StorePath } from '../../src/nix/index.ts';
import { type Namespace, openNamespace } from '../../test/support/namespace.ts';
import { nixConfiguration } from '../../test/support/nix.ts';
import { type RunResult, toolEnvironment } from '../../test/support/run.ts';

/** Part of the folder's name: change it when what is generated changes. */
const GENERATION = 2;

export interface DerivationStore extends AsyncDisposable {
  /** Where the file system outside of the namespace has /nix/store. */
  readonly physicalStore: string;
  readonly root: string;
  readonly count: number;
  /** Of each path that can be had: `public` or `local`, the path, and what it refers to, parted by spaces; one a line. */
  readonly factsFile: string;
  /** Runs a shell script where this store is the store. */
  shell(script: string, ...args: readonly string[]): Promise<RunResult>;
}

/** Makes the store (some minutes, once) or finds it made. Needs root and Debian's nix-bin. */
export async function openDerivationStore(count: number, note: (text: string) => void): Promise<DerivationStore> {
  const folder = path.join(tmpdir(), `nixferry-bench-derivations-${count}-${GENERATION}`);
  if (!existsSync(folder)) {
    note(`making ${count} derivations in ${folder}; this takes some minutes, once`);
    const partial = `${folder}.partial`;
    await rm(partial, { recursive: true, force: true });
    await makeStore(partial, count);
    await rename(partial, folder);
  }
  const namespace = await enter(folder);
  const { root } = JSON.parse(await readFile(path.join(folder, 'about.json'), 'utf8')) as { root: string };
  return {
    physicalStore: path.join(folder, 'nix/store'),
    root,
    count,
    factsFile: path.join(folder, 'facts'),
    shell: (script, ...args) => shellIn(namespace, folder, script, args),
    [Symbol.asyncDispose]: () => namespace[Symbol.asyncDispose](),
  };
}

async function makeStore(folder: string, count: number): Promise<void> {
  for (const name of ['nix', 'home', 'etc']) await mkdir(path.join(folder, name), { recursive: true });
  await writeFile(path.join(folder, 'etc/nix.conf'), `${nixConfiguration.join('\n')}\n`);
  await writeFile(path.join(folder, 'system.nix'), expression(count));
  await using namespace = await enter(folder);
  const { stdout } = await shellIn(namespace, folder, 'nix-instantiate --quiet "$0"', [
    path.join(folder, 'system.nix'),
  ]);
  await writeFacts(folder);
  await writeFile(path.join(folder, 'about.json'), JSON.stringify({ root: stdout.trim() }));
}

function enter(folder: string): Promise<Namespace> {
  return openNamespace({ nixDirectory: path.join(folder, 'nix'), network: 'host' });
}

function shellIn(namespace: Namespace, folder: string, script: string, args: readonly string[]): Promise<RunResult> {
  const env = toolEnvironment({
    HOME: path.join(folder, 'home'),
    USER: 'root',
    NIX_REMOTE: '',
    NIX_CONF_DIR: path.join(folder, 'etc'),
  });
  return namespace.run('/bin/sh', ['-euc', script, ...args], { env, timeoutMs: 10 * 60_000 });
}

/** Three sources to six packages to one thing that clients build; texts as long as those of nixpkgs. */
function expression(count: number): string {
  return `
let
  count = ${count};
  sources = count * 3 / 10;
  packages = count * 9 / 10;
  mod = a: b: a - (a / b) * b;
  # Not random, but neither regular: the same at every run.
  some = i: n: low: high: builtins.genList (k: low + mod (i * 7919 + k * 104729 + i * k) (high - low)) n;
  text = builtins.concatStringsSep " " (builtins.genList (k: "phase-\${toString k}=run-it-with-care") 90);
  builder = builtins.toFile "builder.sh" "echo built > $out";
  common = { system = "x86_64-linux"; builder = "/bin/sh"; };
  source = i: derivation (common // {
    name = "source-\${toString i}.tar.gz";
    url = "https://example.org/\${toString i}";
    outputHash = builtins.hashString "sha256" (toString i);
    outputHashAlgo = "sha256";
  });
  package = i: derivation (common // {
    name = "package-\${toString i}";
    outputs = if mod i 3 == 0 then [ "out" "dev" "lib" ] else [ "out" ];
    args = [ builder ];
    src = builtins.elemAt nodes (mod (i * 31) sources);
    patch = builtins.toFile "fix-\${toString i}.patch" "patch \${toString i}";
    inputs = if i < sources + 20 then [ ] else map (j: let node = builtins.elemAt nodes j; in node.dev or node) (some i 14 sources i);
    inherit text;
  });
  own = i: derivation (common // {
    name = "unit-\${toString i}";
    allowSubstitutes = false;
    preferLocalBuild = true;
    inputs = map (builtins.elemAt nodes) ((some i 6 sources packages) ++ (if i > packages + 10 then some i 2 packages i else [ ]));
    inherit text;
  });
  top = derivation (common // {
    name = "system";
    allowSubstitutes = false;
    inputs = builtins.genList (k: builtins.elemAt nodes (packages + k)) (count - packages - 1) ++ builtins.genList (builtins.elemAt nodes) (packages);
  });
  nodes = builtins.genList (i:
    if i < sources then source i else if i < packages then package i else if i < count - 1 then own i else top) count;
in top
`;
}

/** A public cache has all but what clients build, which is in the local store; an output refers to some of what it was built from. */
async function writeFacts(folder: string): Promise<void> {
  const store = path.join(folder, 'nix/store');
  const derivations = new Map<StorePath, Derivation>();
  const lines: string[] = [];
  for (const name of await readdir(store)) {
    const storePath = `/nix/store/${name}` as StorePath;
    if (name.endsWith('.drv')) derivations.set(storePath, parseDerivation(await readFile(path.join(store, name))));
    else if (!name.startsWith('.')) lines.push(`local ${storePath}`);
  }
  for (const [drvPath, derivation] of derivations) {
    const { inputDerivations, inputSources, outputs, env } = derivation;
    lines.push(['local', drvPath, ...inputDerivations.keys(), ...inputSources].join(' '));
    const kind = env.get('allowSubstitutes') === '' ? 'local' : 'public';
    const referred: string[] = [];
    for (const [input, { names }] of isFixedOutput(derivation) ? [] : inputDerivations) {
      const used = derivations.get(input);
      if (used === undefined || isFixedOutput(used)) continue;
      for (const name of names) referred.push(used.outputs.get(name)?.path ?? '');
    }
    for (const { path: output } of outputs.values())
      lines.push([kind, output, ...referred.slice(0, kind === 'public' ? 5 : undefined)].join(' '));
  }
  const file = createWriteStream(path.join(folder, 'facts'));
  for (const line of lines) file.write(`${line}\n`);
  file.end();
  await finished(file);
}
