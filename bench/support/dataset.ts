// A closure like those that people carry: 400 paths, sizes log-normal, about 1 GB, made of the machine's own programs,
// libraries and texts. Real Nix builds, signs and compresses it once; later runs find it in the temp folder.

import { existsSync } from 'node:fs';
import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { createNixEnvironment, type NixEnvironment } from '../../test/support/nix.ts';

const PATHS = 400;
/** 2.5 MB a path, as the closure of a small NixOS system has. */
const TOTAL_BYTES = 1_000_000_000;
/** Spread of the sizes; with it the largest tenth of the paths holds about half of the bytes, as in nixpkgs. */
const SIGMA = 1.7;
/** Part of the folder's name: change it when what is generated changes. */
const GENERATION = 2;

export interface Dataset {
  /** An upstream cache, all xz. */
  readonly directory: string;
  readonly root: string;
  readonly publicKey: string;
  /** Names below `directory` of all that a client of the closure reads: narinfos, NARs. */
  readonly files: readonly string[];
  readonly compressedBytes: number;
}

/** Makes the closure (some minutes, once) or finds it made. */
export async function openDataset(note: (text: string) => void): Promise<Dataset> {
  const folder = path.join(tmpdir(), `nixferry-bench-${GENERATION}`);
  if (!existsSync(folder)) await makeDataset(folder, note);
  const directory = path.join(folder, 'upstream');
  const { root, publicKey } = JSON.parse(await readFile(path.join(folder, 'about.json'), 'utf8')) as {
    root: string;
    publicKey: string;
  };
  const nars = (await readdir(path.join(directory, 'nar'))).map((file) => `nar/${file}`);
  const narInfos = (await readdir(directory)).filter((file) => file.endsWith('.narinfo'));
  const sizes = await Promise.all(nars.map(async (file) => (await stat(path.join(directory, file))).size));
  const compressedBytes = sizes.reduce((sum, size) => sum + size, 0);
  return { directory, root, publicKey, files: [...narInfos, ...nars], compressedBytes };
}

async function makeDataset(folder: string, note: (text: string) => void): Promise<void> {
  note(`making ${PATHS} paths of ${TOTAL_BYTES / 1e6} MB in ${folder}; this takes some minutes, once`);
  await using nix = await createNixEnvironment();
  const lists = shareOut(await machineFiles(), logNormalSizes());
  for (const [index, files] of lists.entries()) {
    await writeFile(path.join(nix.directory, `files-${index}`), files.map((file) => `${file}\0`).join(''));
  }
  const paths = await nix.build(expression(nix.directory));
  const root = paths.at(-1) ?? '';
  const [secret, publicFile] = [path.join(nix.directory, 'secret'), path.join(nix.directory, 'public')];
  await nix.run('nix-store', ['--generate-binary-cache-key', 'bench-1', secret, publicFile]);
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true });
  await nix.run('mkdir', ['-p', `${partial}/upstream`]);
  const url = `file://${partial}/upstream?secret-key=${secret}`;
  for (const generation of generations(paths)) await copyOnAllCores(nix, url, generation);
  const publicKey = (await readFile(publicFile, 'utf8')).trim();
  await writeFile(path.join(partial, 'about.json'), JSON.stringify({ root, publicKey }));
  await rename(partial, folder);
}

/** Cut so that the references of a path, `expression` says which, stand in earlier cuts than itself. */
function generations(paths: readonly string[]): (readonly string[])[] {
  const cuts: (readonly string[])[] = [];
  const root = paths.length - 1;
  for (let start = 0, end = 1; start < root; start = end, end = start * 3) {
    cuts.push(paths.slice(start, Math.min(end, root)));
  }
  return [...cuts, paths.slice(root)];
}

/** `nix copy` compresses one path after the other on one core. */
async function copyOnAllCores(nix: NixEnvironment, url: string, paths: readonly string[]): Promise<void> {
  const cores = availableParallelism();
  const shares = Array.from({ length: cores }, (_, core) => paths.filter((_path, index) => index % cores === core));
  const copy = (share: readonly string[]) =>
    nix.run('nix', ['copy', '--no-recursive', '--to', url, ...share], { timeoutMs: 30 * 60_000 });
  await Promise.all(shares.filter((share) => share.length > 0).map(copy));
}

function expression(lists: string): string {
  return `
let
  count = ${PATHS};
  node = i: derivation {
    name = "bench-\${toString i}";
    system = builtins.currentSystem;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    list = "${lists}/files-\${toString i}";
    references = if i == 0 then [ ]
      else if i == count - 1 then builtins.genList (k: builtins.elemAt nodes (i / 3 + k)) (i - i / 3)
      else [ (builtins.elemAt nodes (i / 3)) ];
    args = [ "-euc" ''
      mkdir $out
      echo $references > $out/references
      xargs --null --no-run-if-empty --arg-file=$list cp --parents --no-dereference --target-directory=$out
    '' ];
  };
  nodes = builtins.genList node count;
in nodes
`;
}

async function machineFiles(): Promise<{ file: string; sizeBytes: number }[]> {
  const found: { file: string; sizeBytes: number }[] = [];
  for (const folder of ['/usr/bin', '/usr/lib', '/usr/share', '/usr/include']) {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      if (!entry.isFile()) continue;
      const file = path.join(entry.parentPath, entry.name);
      found.push({ file, sizeBytes: (await stat(file)).size });
    }
  }
  // Neighbours in a folder compress alike; mixed by a fixed rule, every path gets a bit of everything.
  const random = pseudoRandom(7);
  return found
    .toSorted((a, b) => (a.file < b.file ? -1 : 1))
    .map((entry) => ({ entry, key: random() }))
    .toSorted((a, b) => a.key - b.key)
    .map(({ entry }) => entry);
}

/** For each size a list of files that comes close to it. */
function shareOut(files: readonly { file: string; sizeBytes: number }[], sizes: readonly number[]): string[][] {
  let cursor = 0;
  return sizes.map((size) => {
    const chosen = new Set<string>();
    let left = size;
    for (let looked = 0; looked < files.length && left > size / 50; looked += 1) {
      const candidate = files[cursor++ % files.length];
      if (candidate === undefined || candidate.sizeBytes > left) continue;
      chosen.add(candidate.file);
      left -= candidate.sizeBytes;
    }
    return [...chosen];
  });
}

function logNormalSizes(): number[] {
  const random = pseudoRandom(42);
  const raw = Array.from({ length: PATHS }, () => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return Math.exp(SIGMA * normal);
  });
  const sum = raw.reduce((total, value) => total + value, 0);
  return raw.map((value) => (value / sum) * TOTAL_BYTES);
}

/** Park and Miller's generator: the same sequence on every machine. */
function pseudoRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}
