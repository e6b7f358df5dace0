// What clients behind the gap do with carried sources: build everything from them, and ask for files by their hashes, once as Nix itself does and
// once as the fetchurl of nixpkgs. Shared by the Nix of this machine and by those of other releases.

import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { suite, test } from 'node:test';
import { openMirror } from '../../src/mirror/mirror.ts';
import { formatHash, hashBytes } from '../../src/nix/hash.ts';
import type { NarInfo } from '../../src/nix/index.ts';
import type { Site } from './carry.ts';
import { createNixEnvironment } from './nix.ts';
import type { PackageSet } from './package-set.ts';

export interface SourcesClientSuite {
  /** Serves a mirror that has the sources of `packages` and what these are built from, and nothing else. */
  readonly site: () => Site;
  readonly set: () => PackageSet;
  /** `hello` is one of them. */
  readonly packages: readonly string[];
  /** The root folder of another system; undefined for this machine. */
  readonly findChroot?: () => Promise<string>;
}

/** Nobody listens there, and no route leads there. */
const DEAD = 'http://192.0.2.1/file';

const ALGORITHMS = ['md5', 'sha1', 'sha256', 'sha512'] as const;

export function sourcesClientSuite(title: string, options: SourcesClientSuite): void {
  suite(title, () => {
    test('builds everything from sources alone', async () => {
      const { set, site, packages, findChroot } = options;
      const drvs = await set().instantiate(packages);
      const infos = await readPaths(site().mirror);
      const config = [`substituters = ${site().url}`, `trusted-public-keys = ${site().publicKey}`, 'substitute = true'];
      const chroot = await findChroot?.();
      await using client = await createNixEnvironment({ network: site().gap.namespace, chroot, config });
      const attempts = await site().gap.attemptsToLeave();
      const args = ['--realise', ...drvs];
      const { stdout, stderr } = await client.run('nix-store', args, { timeoutMs: 300_000 });
      const outputs = stdout.split('\n').filter((line) => line !== '');
      const hello = outputs.find((output) => output.endsWith('-hello-2.12'));
      assert.equal((await client.run(`${hello}/bin/hello`)).stdout, 'hello 2.12\n');
      // What has no `CA:` was built, and the mirror has nothing of that.
      for (const { storePath, contentAddress } of infos) assert.ok(contentAddress !== undefined, storePath);
      for (const output of outputs)
        assert.ok(
          infos.every(({ storePath }) => storePath !== output),
          output,
        );
      assert.match(stderr, /building '\/nix\/store\/.*-bash-5\.2\.drv'/);
      assert.equal(await site().gap.attemptsToLeave(), attempts);
    });

    test('builtin:fetchurl gets a flat file by each hash when its address is dead', async () => {
      const hello = await readHello(options.set());
      const fetches = ALGORITHMS.map((algorithm) => {
        const base16 = formatHash(hashBytes(algorithm, hello), 'base16', { prefix: false });
        return `(import <nix/fetchurl.nix> { name = "by-${algorithm}"; url = "${DEAD}"; ${algorithm} = "${base16}"; })`;
      });
      const { files } = await build(options, `[ ${fetches.join('\n')} ]`);
      assert.equal(files.length, ALGORITHMS.length);
      for (const file of files) assert.ok(file.equals(hello));
    });

    test('a builder like fetchurl of nixpkgs gets it by every spelling', async () => {
      const hello = await readHello(options.set());
      const spelled: (readonly [algorithm: string, hash: string])[] = [];
      for (const algorithm of ALGORITHMS) {
        const hash = hashBytes(algorithm, hello);
        for (const one of ['base16', 'nix32', 'base64'] as const) {
          spelled.push([algorithm, formatHash(hash, one, { prefix: false })]);
        }
        spelled.push(['', formatHash(hash, 'sri')]);
      }
      const fetches = spelled.map(([algorithm, hash], index) => fetchLikeNixpkgs(`file-${index}`, algorithm, hash));
      const { files } = await build(options, `[ ${fetches.join('\n')} ]`);
      assert.equal(files.length, 16);
      for (const file of files) assert.ok(file.equals(hello));
    });

    test('no client takes anything for a file that is none', async () => {
      const { hash = '' } = options.set().sources['busybox'] ?? {};
      const { exitCode, stderr } = await build(options, fetchLikeNixpkgs('busybox', '', hash, 'recursive'), 'any');
      assert.notEqual(exitCode, 0);
      assert.match(stderr, /404/);
    });
  });
}

/** Every path that clients see. */
export async function readPaths(directory: string): Promise<NarInfo[]> {
  await using mirror = await openMirror(directory, { access: 'read' });
  const infos = await Promise.all((await mirror.index.hashParts()).map((hashPart) => mirror.readNarInfo(hashPart)));
  return infos.filter((info) => info !== undefined);
}

async function readHello({ sources, internet }: PackageSet): Promise<Buffer> {
  return readFile(path.join(internet.directory, sources['hello']?.path ?? ''));
}

/** Builds an expression in a client that has no substituter, and no network but the site's. */
async function build({ site, findChroot }: SourcesClientSuite, expression: string, exitCode: number | 'any' = 0) {
  const chroot = await findChroot?.();
  const config = ['substituters =', `hashed-mirrors = ${site().url}/hashed`];
  await using client = await createNixEnvironment({ network: site().gap.namespace, chroot, config });
  const file = path.join(client.directory, 'expression.nix');
  await writeFile(file, expression);
  const env = { ...client.env, NIX_HASHED_MIRRORS: `${site().url}/hashed` };
  const result = await client.run('nix-build', ['--no-out-link', file], { env, exitCode, timeoutMs: 120_000 });
  const outputs = result.stdout.split('\n').filter((line) => line !== '');
  return { ...result, files: await Promise.all(outputs.map((output) => readFile(client.physical(output)))) };
}

/** Asks as the builder of nixpkgs does: the address, then of each hashed mirror first the head. */
function fetchLikeNixpkgs(name: string, algorithm: string, hash: string, mode = 'flat'): string {
  return `(derivation {
    name = "${name}";
    system = builtins.currentSystem;
    builder = "/bin/sh";
    outputHashMode = "${mode}";
    outputHashAlgo = "${algorithm}";
    outputHash = "${hash}";
    url = "${DEAD}";
    impureEnvVars = [ "NIX_HASHED_MIRRORS" ];
    PATH = "/usr/bin:/bin";
    args = [ "-euc" ''
      curl="curl --location --max-redirs 20 --disable-epsv --fail --silent --show-error --connect-timeout 3"
      $curl --output "$out" "$url" && exit
      for mirror in $NIX_HASHED_MIRRORS; do
        address=$mirror/$outputHashAlgo/$outputHash
        if $curl --head --output /dev/null --write-out '%{http_code}\\n' "$address" >&2; then
          $curl --output "$out" "$address" && exit
        fi
      done
      exit 1
    '' ];
  })`;
}
