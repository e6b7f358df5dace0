// Random derivations of every kind that Nix treats differently when it decides what to build and what to fetch, as a Nix expression, and
// the binary cache that real Nix makes of what it builds from them.

import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type NarNode, writeNar } from '../../src/nix/nar-writer.ts';
import type { NixEnvironment } from './nix.ts';
import type { Random } from './random.ts';

export interface DerivationMix {
  /** A `file://` binary cache with every output that can be had from one. */
  readonly cache: string;
  /** The key that signed what Nix built. */
  readonly publicKey: string;
  /** What fetchers of fixed outputs read: take it away and they fail, as without an internet. */
  readonly internet: string;
  /** The `.drv` files of all, users after what they use, and the outputs of each. */
  readonly derivations: readonly { readonly drvPath: string; readonly outputs: readonly string[] }[];
  /** Every path of the `.drv` files' closure: they themselves, and their sources. */
  readonly derivationClosure: readonly string[];
}

export interface DerivationMixOptions {
  readonly nix: NixEnvironment;
  readonly random: Random;
  readonly count: number;
}

/** What nix.conf must allow besides. */
export const MIX_CONFIG: readonly string[] = [
  'experimental-features = nix-command flakes ca-derivations impure-derivations',
];

/** Builds them all; 60 take about ten seconds. */
export async function makeDerivationMix({ nix, random, count }: DerivationMixOptions): Promise<DerivationMix> {
  const internet = path.join(nix.directory, 'internet');
  const cache = path.join(nix.directory, 'cache');
  const [secret, publicFile] = [path.join(nix.directory, 'mix.secret'), path.join(nix.directory, 'mix.public')];
  await mkdir(internet);
  await mkdir(cache);
  await nix.run('nix-store', ['--generate-binary-cache-key', 'mix-1', secret, publicFile]);
  const nodes = await makeNodes(random, count, internet);
  await writeFile(path.join(nix.directory, 'build.sh'), BUILD_SCRIPT);
  const file = path.join(nix.directory, 'mix.nix');
  await writeFile(file, expressionOf(nodes));
  const instantiated = await nix.lines('nix-instantiate', [file, ...nodes.flatMap(({ name }) => ['-A', name])]);
  // Of one whose first output is another than `out`, that is named behind it.
  const drvPaths = instantiated.map((line) => line.split('!')[0] ?? '');
  const version = (await nix.run('nix', ['--version'])).stdout.trim().split(' ').at(-1) ?? '';
  const installables = nodes
    .filter(({ kind }) => kind !== 'impure')
    .flatMap(({ name, outputs }) => (isOld(version) ? outputs.map((output) => `${name}.${output}`) : [`${name}^*`]));
  const options = ['--option', 'secret-key-files', secret];
  await nix.run('nix', ['copy', ...options, '--to', `file://${cache}?compression=none`, '-f', file, ...installables], {
    timeoutMs: 300_000,
  });
  const derivationClosure = await nix.lines('nix-store', ['--query', '--requisites', ...drvPaths]);
  // Sources, too: a mirror carries them, and outputs refer to some.
  const sources = derivationClosure.filter((closed) => !closed.endsWith('.drv'));
  await nix.run('nix', ['copy', '--to', `file://${cache}?compression=none`, ...sources]);
  return {
    cache,
    publicKey: (await readFile(publicFile, 'utf8')).trim(),
    internet,
    derivations: drvPaths.map((drvPath, index) => ({ drvPath, outputs: nodes[index]?.outputs ?? [] })),
    derivationClosure,
  };
}

interface MixNode {
  readonly name: string;
  readonly kind: 'plain' | 'structured' | 'fixed' | 'builtin-fetch' | 'builtin-environment' | 'floating' | 'impure';
  readonly outputs: readonly string[];
  readonly attributes: readonly string[];
}

async function makeNodes(random: Random, count: number, internet: string): Promise<MixNode[]> {
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random.next() * items.length)] as Item;
  const chance = (share: number): boolean => random.next() < share;
  const nodes: MixNode[] = [];
  for (let index = 0; index < count; index += 1) {
    const name = `n${index}`;
    const isLast = index === count - 1;
    const kind = isLast || index < 3 ? 'plain' : pick(KINDS);
    const outputs = kind === 'plain' || kind === 'structured' || kind === 'floating' ? pick(OUTPUTS) : ['out'];
    const attributes: string[] = [`outputs = [ ${outputs.map((output) => `"${output}"`).join(' ')} ];`];
    // Only what states its hash may be built from what is never twice the same.
    const usable = nodes.filter((node) => node.kind !== 'impure' || kind === 'fixed' || kind === 'impure');
    const inputs = new Set<MixNode>(isLast ? nodes.slice(-8).filter((node) => usable.includes(node)) : []);
    for (let wanted = 1 + Math.floor(random.next() * 4); wanted > 0 && usable.length > 0; wanted -= 1) {
      inputs.add(
        chance(0.6)
          ? (usable.at(-1 - Math.floor(random.next() * Math.min(8, usable.length))) as MixNode)
          : pick(usable),
      );
    }
    const texts = [...inputs].map((input) => `\${${input.name}.${pick(input.outputs)}}`);
    attributes.push(...(await attributesOf(kind, name, texts, chance, internet)));
    if (chance(0.4)) attributes.push(`src = builtins.toFile "src-${name}" "source of ${name}";`);
    if (kind !== 'structured' && chance(0.3))
      attributes.push(`allowSubstitutes = ${pick(['false', 'true', '"0"', '"1"', '""'])};`);
    if (kind === 'structured' && chance(0.5)) attributes.push(`allowSubstitutes = ${pick(['false', 'true'])};`);
    if (chance(0.3)) attributes.push(`preferLocalBuild = ${pick(['true', 'false'])};`);
    nodes.push({ name, kind, outputs, attributes });
  }
  return nodes;
}

async function attributesOf(
  kind: MixNode['kind'],
  name: string,
  inputs: readonly string[],
  chance: (share: number) => boolean,
  internet: string,
): Promise<string[]> {
  const used = `buildInputs = "${inputs.join(' ')}";`;
  const contents = `contents of ${name}\n`;
  const url = path.join(internet, name);
  switch (kind) {
    case 'fixed': {
      await writeFile(url, contents);
      const isRecursive = chance(0.5);
      const hash = isRecursive ? await narHash(contents) : createHash('sha256').update(contents).digest('hex');
      return [
        used,
        `url = "${url}";`,
        `outputHash = "${hash}"; outputHashAlgo = "sha256";`,
        `outputHashMode = "${isRecursive ? 'recursive' : 'flat'}";`,
      ];
    }
    case 'builtin-fetch': {
      await writeFile(url, contents);
      const hash = createHash('sha256').update(contents).digest('hex');
      return [
        'builder = "builtin:fetchurl"; system = "builtin"; executable = false; unpack = false;',
        `url = "file://${url}"; outputHash = "${hash}"; outputHashAlgo = "sha256"; outputHashMode = "flat";`,
      ];
    }
    case 'builtin-environment':
      return [
        'builder = "builtin:buildenv"; system = "builtin"; manifest = builtins.toFile "manifest" "nothing";',
        `derivations = [ ];`,
        used,
      ];
    case 'floating':
      return [
        runtimeOf(inputs, chance),
        used,
        '__contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";',
      ];
    case 'impure':
      return [used, '__impure = true;'];
    case 'structured':
      return [
        runtimeOf(inputs, chance),
        used,
        '__structuredAttrs = true;',
        'nested = { allowSubstitutes = false; list = [ 1 2 ]; };',
      ];
    case 'plain':
      return [runtimeOf(inputs, chance), used];
  }
}

function runtimeOf(inputs: readonly string[], chance: (share: number) => boolean): string {
  return `references = "${inputs.filter(() => chance(0.5)).join(' ')}";`;
}

function expressionOf(nodes: readonly MixNode[]): string {
  const lines = nodes.map(({ name, attributes }) => `  ${name} = make "${name}" { ${attributes.join(' ')} };`);
  return `let
  make = name: attributes: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/bash";
    args = [ "-eu" ./build.sh ];
    PATH = "/usr/bin:/bin";
  } // attributes);
in rec {
${lines.join('\n')}
}
`;
}

const KINDS: readonly MixNode['kind'][] = [
  'plain',
  'plain',
  'plain',
  'plain',
  'structured',
  'structured',
  'fixed',
  'builtin-fetch',
  'builtin-environment',
  'floating',
  'impure',
];
const OUTPUTS: readonly (readonly string[])[] = [
  ['out'],
  ['out'],
  ['out', 'dev'],
  ['out', 'dev', 'lib'],
  ['lib', 'dev', 'out'],
];

const BUILD_SCRIPT = `
declare -A made
if [ -n "\${NIX_ATTRS_SH_FILE:-}" ]; then
  . "$NIX_ATTRS_SH_FILE"
  for output in "\${!outputs[@]}"; do made[$output]=\${outputs[$output]}; done
else
  for output in $outputs; do made[$output]=\${!output}; done
fi
if [ -n "\${url:-}" ]; then
  cp "$url" "\${made[out]}"
  exit
fi
for output in "\${!made[@]}"; do
  {
    echo "$name $output"
    [ "$output" = lib ] || echo "\${references:-}"
    [ "$output" != dev ] || echo "\${made[out]}"
  } > "\${made[$output]}"
done
`;

async function narHash(contents: string): Promise<string> {
  const bytes = Buffer.from(contents);
  const node: NarNode = {
    type: 'regular',
    executable: false,
    sizeBytes: bytes.length,
    contents: async function* () {
      yield bytes;
    },
  };
  const digest = createHash('sha256');
  for await (const chunk of writeNar(node)) digest.update(chunk);
  return digest.digest('hex');
}

function isOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major === 2 && minor < 9;
}
