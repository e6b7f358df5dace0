// Every way to say what should be carried, through the command line, with real Nix to evaluate and a real local store.

import assert from 'node:assert/strict';
import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { nixferryCommand } from './support/nixferry.ts';
import type { RunOptions } from './support/run.ts';
import { type StaticServer, serveDirectory } from './support/static-server.ts';

const EXPRESSION = `
let
  make = name: script: extra: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
    PATH = "/usr/bin:/bin";
  } // extra);
in rec {
  library = make "library" "echo library > $out" { };
  tool = make "tool" "mkdir -p $out; echo \${library} > $out/uses; echo header > $dev" { outputs = [ "out" "dev" ]; };
  own = make "own" "echo \${tool} > $out" { };
  unbuilt = make "unbuilt" "echo \${library} > $out" { };
  configuration.config.system.build.toplevel = tool;
}
`;

interface Result {
  readonly exitCode: number | null;
  readonly roots: readonly { readonly name: string; readonly complete: boolean }[];
  readonly problems: readonly { readonly storePath: string; readonly kind: string }[];
  readonly published: number;
}

suite('roots of every kind', () => {
  const cleanUp = new AsyncDisposableStack();
  let nix: NixEnvironment;
  let server: StaticServer;
  let publicKey: string;
  let paths: Record<'library' | 'tool' | 'dev' | 'own', string>;
  let mirrors = 0;

  before(async () => {
    nix = cleanUp.use(await createNixEnvironment());
    const { directory } = nix;
    await mkdir(path.join(directory, 'config'));
    await writeFile(path.join(directory, 'config', 'default.nix'), EXPRESSION);
    await writeFile(
      path.join(directory, 'config', 'flake.nix'),
      `{ outputs = _: let all = import ./default.nix; in { packages.${await system()} = { inherit (all) library tool; };
         nixosConfigurations.web = all.configuration; }; }`.replaceAll(
        'import ./default.nix',
        `(${EXPRESSION.replaceAll('builtins.currentSystem', `"${await system()}"`)})`,
      ),
    );
    const build = (...attributes: string[]) =>
      nix.lines('nix-build', ['--no-out-link', 'config/default.nix', ...attributes.flatMap((name) => ['-A', name])], {
        cwd: directory,
      });
    const [library, tool, dev, own] = await build('library', 'tool', 'tool.dev', 'own');
    assert.ok(library !== undefined && tool !== undefined && dev !== undefined && own !== undefined);
    paths = { library, tool, dev, own };
    publicKey = await makeCache();
    server = cleanUp.use(await serveDirectory(path.join(directory, 'internet')));
  });
  after(() => cleanUp.disposeAsync());

  async function system(): Promise<string> {
    const { stdout } = await nix.run('nix-instantiate', ['--eval', '--json', '-E', 'builtins.currentSystem']);
    return JSON.parse(stdout) as string;
  }

  /** What a public cache has: everything but `own`; and a channel's list of it. */
  async function makeCache(): Promise<string> {
    const at = (...names: string[]) => path.join(nix.directory, ...names);
    await nix.run('nix-store', ['--generate-binary-cache-key', 'upstream-1', at('secret'), at('public')]);
    const target = `file://${at('internet', 'cache')}?compression=xz&secret-key=${at('secret')}`;
    await nix.run('nix', ['copy', '--to', target, paths.tool, paths.dev]);
    await mkdir(at('internet', 'channels', 'nixos-99.11'), { recursive: true });
    await writeFile(at('store-paths'), `${paths.tool}\n\n${paths.dev}\n`);
    await nix.run('xz', ['--keep', at('store-paths')]);
    await copyFile(at('store-paths.xz'), at('internet', 'channels', 'nixos-99.11', 'store-paths.xz'));
    return (await readFile(at('public'), 'utf8')).trim();
  }

  /** Collects into a mirror of its own, as a user would who sits in the folder of the configuration. */
  async function collect(roots: readonly string[], options: RunOptions & { readonly flags?: readonly string[] } = {}) {
    const mirror = path.join(nix.directory, `mirror-${++mirrors}`);
    const { flags = [], ...rest } = options;
    const trust = ['--upstream', `${server.url}/cache`, '--trusted-public-key', publicKey];
    const args = ['collect', ...roots, ...trust, '--mirror', mirror, '--json', ...flags];
    const { stdout, exitCode } = await nix.run(nixferryCommand, args, {
      cwd: path.join(nix.directory, 'config'),
      exitCode: 'any',
      ...rest,
    });
    const verdict = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '{}') as Omit<Result, 'exitCode'>;
    return { ...verdict, exitCode, mirror };
  }

  async function held({ mirror }: { readonly mirror: string }): Promise<string[]> {
    const { stdout } = await nix.run('/bin/sh', [
      '-c',
      `grep -h '^StorePath: ' "$1"/*.narinfo | cut -c12- | sort`,
      'sh',
      mirror,
    ]);
    return stdout.split('\n').filter((line) => line !== '');
  }

  test('a store path, a path inside it and links to it carry its closure', async () => {
    const link = path.join(nix.directory, 'result');
    await symlink(paths.tool, link);
    for (const root of [paths.tool, `${paths.tool}/uses`, link, '../result']) {
      const result = await collect([root]);
      assert.equal(result.exitCode, 0, root);
      assert.deepEqual(await held(result), [paths.library, paths.tool].toSorted());
    }
  });

  test('a list of paths is read from a file, from standard input, from a URL and from a channel', async () => {
    const list = path.join(nix.directory, 'store-paths');
    const channels = ['--channels-base', `${server.url}/channels`];
    const both = [paths.library, paths.tool, paths.dev].toSorted();
    const url = `${server.url}/channels/nixos-99.11/store-paths.xz`;
    for (const root of [list, `${list}.xz`, `file://${list}.xz`, url, 'channel:nixos-99.11']) {
      const result = await collect([root], { flags: channels });
      assert.equal(result.exitCode, 0, root);
      assert.deepEqual(await held(result), both, root);
    }
    const result = await collect(['-'], { input: `${paths.tool}\n` });
    assert.deepEqual([result.exitCode, result.published], [0, 2]);
  });

  test('-f FILE -A ATTR carries what would be installed, the whole file every derivation in it', async () => {
    const tool = await collect([], { flags: ['-f', 'default.nix', '-A', 'tool'] });
    assert.deepEqual(await held(tool), [paths.library, paths.tool].toSorted());
    const toplevel = await collect([], { flags: ['-f', 'default.nix', '-A', 'configuration', '--scope', 'run'] });
    assert.deepEqual(await held(toplevel), [paths.library, paths.tool].toSorted());
    const whole = await collect([], { flags: ['-f', 'default.nix'] });
    assert.equal(whole.exitCode, 18);
    assert.deepEqual(await held(whole), [paths.library, paths.tool, paths.own].toSorted());
  });

  test('a flake output, chosen outputs of it and a NixOS configuration are evaluated', async () => {
    assert.deepEqual(await held(await collect(['.#tool'])), [paths.library, paths.tool].toSorted());
    assert.deepEqual(await held(await collect(['.#tool^dev'])), [paths.dev]);
    assert.deepEqual(await held(await collect(['.#tool^*'])), [paths.library, paths.tool, paths.dev].toSorted());
    const running = await collect(['.#nixosConfigurations.web'], { flags: ['--scope', 'run'] });
    assert.deepEqual(await held(running), [paths.library, paths.tool].toSorted());
    const changing = await held(await collect(['.#nixosConfigurations.web']));
    assert.deepEqual(
      changing.filter((one) => !one.endsWith('.drv') && !one.endsWith('-source')),
      [paths.library, paths.tool].toSorted(),
    );
    assert.ok(
      changing.some((one) => one.endsWith('-tool.drv')),
      changing.join(' '),
    );
  });

  test('a .drv path stands for its outputs', async () => {
    const [drv] = await nix.lines('nix-instantiate', ['config/default.nix', '-A', 'tool'], { cwd: nix.directory });
    assert.deepEqual(await held(await collect([drv ?? ''])), [paths.library, paths.tool, paths.dev].toSorted());
  });

  test('a name from nixferry.toml stands for its roots', async () => {
    const file = path.join(nix.directory, 'nixferry.toml');
    await writeFile(file, `[roots]\nweb = [".#tool", "${paths.dev}"]\n`);
    const result = await collect(['web'], { flags: ['--config', file] });
    assert.deepEqual(
      result.roots.map(({ name, complete }) => [name, complete]),
      [
        ['tool', true],
        [paths.dev.slice(44), true],
      ],
    );
  });

  test('a path that only the local store has is dumped, signed with the key of the mirror, and installs', async () => {
    const result = await collect([paths.own]);
    assert.equal(result.exitCode, 0);
    const { stdout: key } = await nix.run(nixferryCommand, ['keys', 'show', '--mirror', result.mirror]);
    await using client = await createNixEnvironment({ shared: [result.mirror] });
    const settings = {
      substituters: `file://${result.mirror}`,
      'trusted-public-keys': key.trim(),
      'require-sigs': 'true',
    };
    const options = Object.entries(settings).flatMap(([name, value]) => ['--option', name, value]);
    await client.run('nix-store', ['--realise', paths.own, ...options]);
    await client.run('nix-store', ['--verify', '--check-contents']);
  });

  test('plan and collect list what is not built yet, and collect takes the rest', async () => {
    const flags = ['-f', 'default.nix', '-A', 'unbuilt', '-A', 'tool'];
    const result = await collect([], { flags });
    assert.equal(result.exitCode, 18);
    assert.deepEqual(
      result.problems.map(({ kind }) => kind),
      ['not-built'],
    );
    assert.match(result.problems[0]?.storePath ?? '', /-unbuilt$/);
    assert.deepEqual(
      result.roots.map(({ complete }) => complete),
      [false, true],
    );
    const plan = await nix.run(
      nixferryCommand,
      [
        'plan',
        ...flags,
        '--upstream',
        `${server.url}/cache`,
        '--trusted-public-key',
        publicKey,
        '--mirror',
        result.mirror,
      ],
      { cwd: path.join(nix.directory, 'config'), exitCode: 18 },
    );
    assert.match(plan.stderr, /1 path not built yet[^]*carry what clients build it from: --scope reconfigure/);
    assert.match(plan.stdout, /already here +2\n/);
  });

  test('an unsigned upstream is refused, path by path, with the reason', async () => {
    const mirror = path.join(nix.directory, 'mirror-untrusted');
    const stranger = `stranger-1:${Buffer.alloc(32, 1).toString('base64')}`;
    // Without Nix on the PATH there is no local store that could have the paths.
    const { stderr } = await nix.run(
      'env',
      [
        `PATH=${path.dirname(process.execPath)}`,
        nixferryCommand,
        'plan',
        path.join(nix.directory, 'store-paths'),
        '--upstream',
        `${server.url}/cache`,
        '--trusted-public-key',
        stranger,
        '--mirror',
        mirror,
      ],
      { exitCode: 18 },
    );
    assert.match(stderr, /2 paths not signed by a key that counts here/);
    assert.match(stderr, /an upstream has it, signed by upstream-1, none of which is trusted here/);
  });

  test('a root that is none ends with exit code 2 and the next step', async () => {
    for (const [root, complaint] of [
      ['nonsense', /no such file/],
      ['.#missing', /missing/],
      [`${paths.tool.slice(0, 43)}`, /./],
    ] as const) {
      const { stderr, exitCode } = await nix.run(nixferryCommand, ['plan', root, '--upstream', `${server.url}/cache`], {
        cwd: path.join(nix.directory, 'config'),
        exitCode: 'any',
      });
      assert.equal(exitCode, 2, stderr);
      assert.match(stderr, complaint);
      assert.match(stderr, /^next: {2}\S/m);
    }
  });
});
