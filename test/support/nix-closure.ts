// A Nix as binary caches have it: the Nix of this machine (or of another system's root), put into store paths by real Nix, with
// its loader and its libraries beside it, so that it starts wherever its store lies under /nix and needs nothing else.

import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { NixEnvironment } from './nix.ts';
import { run, toolEnvironment } from './run.ts';

export interface NixClosure {
  /** `/nix/store/HASH-nix-2.8.0`; its programs are links into another path, as those of recent releases are. */
  readonly storePath: string;
  readonly version: string;
  /** All paths, as `nix-store --query --requisites` prints them. */
  readonly paths: readonly string[];
  /** The `file://` cache that holds them, signed. */
  readonly directory: string;
  readonly publicKey: string;
}

export interface NixClosureOptions {
  /** Where the paths are built. */
  readonly nix: NixEnvironment;
  /** The root of the system whose Nix it is; this machine's own unless given. */
  readonly system?: string | undefined;
}

/** Builds it and copies it, zstd and xz, into `<environment>/upstream-nix`. */
export async function makeNixClosure({ nix, system = '/' }: NixClosureOptions): Promise<NixClosure> {
  const inside = (...command: readonly string[]) =>
    // Nix looks itself up in /proc; the mount is gone with the process.
    run(
      'unshare',
      ['--mount', '/bin/sh', '-euc', 'mount --rbind /proc "$0/proc"; exec chroot "$0" "$@"', system, ...command],
      {
        env: toolEnvironment(),
      },
    );
  const version = /(\d+(\.\d+)+)\S*\s*$/.exec((await inside('nix', '--version')).stdout)?.[1] ?? '';
  const libraries = [...(await inside('ldd', '/usr/bin/nix')).stdout.matchAll(/(\/\S+) \(0x/g)].map(
    ([, file = '']) => file,
  );
  const real = await Promise.all(
    ['/usr/bin/nix', ...libraries].map(async (file) => (await inside('readlink', '-f', file)).stdout.trim()),
  );
  const at = (file: string) => path.join(system, file);
  const copies = real.slice(1).map((file, index) => `${path.basename(libraries[index] ?? '')}=${at(file)}`);
  const [storePath] = await nix.build(expression(version, at(real[0] ?? ''), copies));
  if (storePath === undefined) throw new Error('no Nix was built');

  const [secret, key] = [path.join(nix.directory, 'nix-cache.secret'), path.join(nix.directory, 'nix-cache.public')];
  const directory = path.join(nix.directory, 'upstream-nix');
  await mkdir(directory);
  await nix.run('nix-store', ['--generate-binary-cache-key', 'nix-cache-1', secret, key]);
  const publicKey = (await nix.run('cat', [key])).stdout.trim();
  const paths = await nix.lines('nix-store', ['--query', '--requisites', storePath]);
  for (const [compression, share] of [
    ['zstd', paths.slice(0, 1)],
    ['xz', paths],
  ] as const) {
    const url = `file://${directory}?compression=${compression}&secret-key=${secret}`;
    await nix.run('nix', ['copy', '--to', url, ...share], { timeoutMs: 600_000 });
  }
  return { storePath, version, paths, directory, publicKey };
}

/** Writes what a release of Nix states: one store path for each kind of machine. Resolves to the folder of all releases. */
export async function writeRelease({ storePath, version }: NixClosure, directory: string): Promise<string> {
  const folder = path.join(directory, `nix-${version}`);
  const other = storePath.replace(/\/store\/\w{8}/, '/store/aaaaaaaa');
  const paths = {
    'x86_64-linux': storePath,
    'aarch64-linux': storePath,
    'i686-linux': other,
    [nixSystem()]: storePath,
  };
  const lines = Object.entries(paths).map(([system, file]) => `  ${system} = "${file}";\n`);
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'fallback-paths.nix'), `{\n${lines.join('')}}\n`);
  return directory;
}

/** What Nix calls this machine. */
export function nixSystem(): string {
  return process.arch === 'arm64' ? 'aarch64-linux' : 'x86_64-linux';
}

const LOADER = /^ld-linux/;

function expression(version: string, program: string, libraries: readonly string[]): string {
  const quoted = libraries.map((library) => `"${library}"`).join(' ');
  const loader = libraries.map((library) => library.split('=')[0] ?? '').find((name) => LOADER.test(name)) ?? '';
  return `
let
  make = name: more: script: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    args = [ "-euc" script ];
  } // more);
  libraries = make "nix-libraries-${version}" { files = [ ${quoted} ]; } ''
    mkdir -p $out/lib
    for file in $files; do cp "\${"$"}{file#*=}" "$out/lib/\${"$"}{file%%=*}"; done
    chmod -R u+w $out
    # Some of them say where their own libraries are.
    for file in $out/lib/*; do
      case $file in */ld-linux* | */libc.so*) ;; *) patchelf --force-rpath --set-rpath $out/lib $file ;; esac
    done
  '';
  program = make "nix-cli-${version}" { } ''
    mkdir -p $out/bin
    cp ${program} $out/bin/nix
    chmod u+w $out/bin/nix
    patchelf --set-interpreter \${libraries}/lib/${loader} --force-rpath --set-rpath \${libraries}/lib $out/bin/nix
  '';
in make "nix-${version}" { } ''
  mkdir -p $out/bin
  for name in nix nix-build nix-channel nix-collect-garbage nix-daemon nix-env nix-instantiate nix-store; do
    ln -s \${program}/bin/nix $out/bin/$name
  done
''
`;
}
