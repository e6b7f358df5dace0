// Real Nix with a /nix of its own: every environment is a namespace in which an empty folder lies over /nix, so tests
// touch neither each other nor the machine's store, and store paths are still the real ones below /nix/store.

import { mkdir, rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Namespace, type NamespaceOptions, openNamespace } from './namespace.ts';
import { type RunningProcess, type RunOptions, type RunResult, toolEnvironment } from './run.ts';
import { makeTempDir } from './temp-dir.ts';

export interface NixEnvironmentOptions {
  /** 'host' unless given. */
  readonly network?: NamespaceOptions['network'] | undefined;
  /** The root of another system, whose Nix is used then. */
  readonly chroot?: string | undefined;
  readonly shared?: readonly string[] | undefined;
  /** Lines added to nix.conf, over the defaults of `nixConfiguration`. */
  readonly config?: readonly string[] | undefined;
}

export interface NixEnvironment extends AsyncDisposable {
  /** Holds everything; scratch files may be put here. */
  readonly directory: string;
  readonly namespace: Namespace;
  /** What Nix is called with; give a changed copy to `run` where a test needs it. */
  readonly env: Readonly<Record<string, string>>;
  /** Runs any program where /nix is this environment's. */
  run(command: string, args?: readonly string[], options?: RunOptions): Promise<RunResult>;
  start(command: string, args?: readonly string[], options?: RunOptions): RunningProcess;
  /** `run` of a Nix program, resolving to the lines that it prints on stdout. */
  lines(command: string, args?: readonly string[], options?: RunOptions): Promise<string[]>;
  /** Builds a Nix expression with nix-build; resolves to its output paths. */
  build(expression: string, args?: readonly string[]): Promise<string[]>;
  /** Where the file system outside of the namespace has a store path of this environment. */
  physical(storePath: string): string;
}

/** Needs root and Debian's nix-bin; starts with an empty store. */
export async function createNixEnvironment(options: NixEnvironmentOptions = {}): Promise<NixEnvironment> {
  const temp = await makeTempDir('nix');
  const nixDirectory = temp.join('nix');
  const home = temp.join('home');
  const configDirectory = temp.join('etc');
  await Promise.all([nixDirectory, home, configDirectory].map((folder) => mkdir(folder, { recursive: true })));
  await writeFile(
    path.join(configDirectory, 'nix.conf'),
    `${[...nixConfiguration, ...(options.config ?? [])].join('\n')}\n`,
  );
  const env = toolEnvironment({
    HOME: home,
    USER: 'root',
    NIX_REMOTE: '',
    NIX_CONF_DIR: configDirectory,
    NIX_PATH: '',
  });
  const namespace = await openNamespace({
    nixDirectory,
    network: options.network ?? 'host',
    chroot: options.chroot,
    shared: [temp.path, ...(options.shared ?? [])],
  }).catch(async (error: unknown) => {
    await temp[Symbol.asyncDispose]();
    throw error;
  });

  const runHere: NixEnvironment['run'] = (command, args, runOptions = {}) =>
    namespace.run(command, args, { env, ...runOptions });
  const lines: NixEnvironment['lines'] = async (command, args, runOptions) => {
    const { stdout } = await runHere(command, args, runOptions);
    return stdout.split('\n').filter((line) => line !== '');
  };
  let built = 0;
  return {
    directory: temp.path,
    namespace,
    env,
    run: runHere,
    start: (command, args, runOptions = {}) => namespace.start(command, args, { env, ...runOptions }),
    lines,
    build: async (expression, args = []) => {
      const file = temp.join(`expression-${++built}.nix`);
      await writeFile(file, expression);
      return lines('nix-build', ['--no-out-link', '--quiet', file, ...args], { timeoutMs: 300_000 });
    },
    physical: (storePath) => temp.join(storePath),
    [Symbol.asyncDispose]: async () => {
      await namespace[Symbol.asyncDispose]();
      if (options.chroot !== undefined) await removeMountPoint(`${options.chroot}${temp.path}`);
      await temp[Symbol.asyncDispose]();
    },
  };
}

/** Debian's own nix.conf is not read. No sandbox: it does not work inside containers, and builders here are `/bin/sh`. */
export const nixConfiguration: readonly string[] = [
  'sandbox = false',
  'build-users-group =',
  'substituters =',
  'experimental-features = nix-command flakes ca-derivations',
  'fsync-metadata = false',
  'max-jobs = 4',
  'flake-registry =',
];

/** `mkdir -p` of a shared folder inside a chroot leaves empty folders there. */
async function removeMountPoint(folder: string): Promise<void> {
  await rmdir(folder).catch(() => {});
}
