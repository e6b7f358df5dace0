// Both kinds of clients that know files by their hashes, asking a served mirror from behind the gap: what Nix itself fetches, and a builder in the
// manner of nixpkgs' fetchurl. Shared by the Nix of this machine and by those of other releases.

import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { suite, test } from 'node:test';
import { formatHash, hashBytes } from '../../src/nix/hash.ts';
import type { Site } from './carry.ts';
import { createNixEnvironment } from './nix.ts';
import type { PackageSet } from './package-set.ts';

export interface HashedMirrorSuite {
  /** Serves a mirror that has the source of hello, and the executable and unpacked bootstrap files. */
  readonly site: () => Site;
  readonly set: () => PackageSet;
  /** The root folder of another system; undefined for this machine. */
  readonly findChroot?: () => Promise<string>;
}

/** Nobody listens there, and no route leads there. */
const DEAD = 'http://192.0.2.1/file';

const ALGORITHMS = ['md5', 'sha1', 'sha256', 'sha512'] as const;

export function hashedMirrorSuite(title: string, options: HashedMirrorSuite): void {
  suite(`hashed mirrors and ${title}`, () => {
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

/** The source of hello, wherever the internet has it by now. */
async function readHello({ sources, internet }: PackageSet): Promise<Buffer> {
  const { path: place = '' } = sources['hello'] ?? {};
  return readFile(path.join(internet.directory, place)).catch(() => readFile(path.join(internet.directory, 'moved')));
}

/** Builds an expression in a client that has no substituter, and no network but the site's. */
async function build({ site, findChroot }: HashedMirrorSuite, expression: string, exitCode: number | 'any' = 0) {
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
