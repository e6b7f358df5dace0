// A machine with internet and without Nix, or with one that is too old: Nixferry brings one, installs nothing, and evaluates with it.

import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { makeNixClosure, type NixClosure, nixSystem, writeRelease } from './support/nix-closure.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { type NoNix, openNoNix } from './support/no-nix.ts';
import type { RunResult } from './support/run.ts';
import { type StaticServer, serveDirectory } from './support/static-server.ts';

suite('a machine without Nix', () => {
  const cleanUp = new AsyncDisposableStack();
  let nix: NixEnvironment;
  let closure: NixClosure;
  let server: StaticServer;
  let trust: string[];

  before(async () => {
    nix = cleanUp.use(await createNixEnvironment());
    // Other users shall come in, too.
    await chmod(nix.directory, 0o755);
    closure = await makeNixClosure({ nix });
    await writeRelease(closure, path.join(nix.directory, 'upstream-nix/releases'));
    server = cleanUp.use(await serveDirectory(closure.directory));
    trust = ['--upstream', server.url, '--trusted-public-key', closure.publicKey];
  });
  after(() => cleanUp.disposeAsync());

  const open = (name: string): Promise<NoNix> => openNoNix(path.join(nix.directory, name));

  interface WithNix {
    readonly machine: NoNix;
    /** What get-nix said. */
    readonly got: RunResult;
  }
  const brought = new Map<boolean, Promise<WithNix>>();
  /** A machine to which a Nix was brought, by root or by somebody else. */
  const withNix = (unprivileged = false): Promise<WithNix> => {
    const known = brought.get(unprivileged) ?? bring(unprivileged);
    brought.set(unprivileged, known);
    return known;
  };
  const bring = async (unprivileged: boolean): Promise<WithNix> => {
    const machine = await open(unprivileged ? 'nobody' : 'root');
    await writeFile(path.join(machine.directory, 'default.nix'), EXPRESSION);
    const args = ['get-nix', closure.version, ...trust, '--releases-base', `${server.url}/releases/`];
    return { machine, got: await machine.run(nixferryCommand, args, { unprivileged, env: envOf(machine) }) };
  };
  const version = () => `nix (Nix) ${closure.version}\n`;

  for (const unprivileged of [false, true]) {
    const who = unprivileged ? 'somebody who is not root' : 'root';
    test(`get-nix runs a Nix for ${who} that only the mirror and a folder know of`, async () => {
      const { machine, got } = await withNix(unprivileged);
      const nixferry = (...args: string[]) => machine.run(nixferryCommand, args, { unprivileged, env: envOf(machine) });
      assert.match(got.stdout, new RegExp(`complete: Nix ${closure.version} .* nothing was installed`));
      assert.equal((await nixferry('get-nix', '--', 'nix', '--version')).stdout, version());
      // It lies under /nix there, and is known to its own database with all that it needs.
      const known = await nixferry('get-nix', '--', 'nix-store', '--query', '--requisites', closure.storePath);
      assert.deepEqual(known.stdout.trim().split('\n').toSorted(), closure.paths.toSorted());
      await nixferry('get-nix', '--', 'nix-store', '--verify', '--check-contents');
      await machine.run('/bin/sh', ['-euc', 'test ! -e /nix'], { unprivileged });
      // Collected like everything else: the mirror holds it, as a root of its own.
      const status = await nixferry('status', '--json');
      assert.match(status.stdout, new RegExp(`"nix:${nixSystem()}"|nix-${nixSystem()}`));
    });

    test(`collect evaluates with it for ${who} where there is no other`, async () => {
      const { machine } = await withNix(unprivileged);
      const nixferry = (...args: string[]) =>
        machine.run(nixferryCommand, args, {
          unprivileged,
          env: envOf(machine),
          exitCode: 'any',
          cwd: machine.directory,
        });
      const planned = await nixferry('plan', '-f', 'default.nix', '-A', 'text', ...trust, '--json');
      assert.equal(planned.exitCode, 18, planned.stderr);
      assert.match(planned.stdout, /\/nix\/store\/[a-z0-9]{32}-evaluated-here/);
      // With all that evaluation needs, in a store of its own for that.
      const wider = await nixferry(
        'plan',
        '-f',
        'default.nix',
        '-A',
        'text',
        '--scope',
        'reconfigure',
        ...trust,
        '--json',
      );
      assert.match(wider.stdout, /-evaluated-here\.drv/, wider.stderr);
      const refused = await machine.run(nixferryCommand, ['plan', '-f', 'default.nix', ...trust], {
        unprivileged,
        env: { ...envOf(machine), NIXFERRY_NIX: path.join(machine.directory, 'nowhere') },
        exitCode: 2,
        cwd: machine.directory,
      });
      assert.match(refused.stderr, /which is not on the PATH\nnext: {2}type nixferry get-nix/);
    });
  }

  test('get-nix passes on what the command reads, prints and ends with', async () => {
    const { machine } = await withNix();
    const run = await machine.run(nixferryCommand, ['get-nix', '--', 'sh', '-c', 'pwd; cat; exit 7'], {
      env: envOf(machine),
      exitCode: 7,
      input: 'read',
      cwd: machine.directory,
    });
    assert.equal(run.stdout, `${machine.directory}\nread`);
  });

  test('the programs of Nix start without namespaces, by their own loader', async () => {
    const { machine } = await withNix();
    const without = { env: envOf(machine), namespaces: false, exitCode: 'any' } as const;
    const run = (...words: string[]) => machine.run(nixferryCommand, ['get-nix', '--', ...words], without);
    assert.equal((await run('nix', '--version')).stdout, version());
    const evaluated = await run('nix-instantiate', '--eval', '--expr', '1 + 1');
    assert.equal(evaluated.stdout, '2\n', evaluated.stderr);
    const other = await run('sh', '-c', 'true');
    assert.equal(other.exitCode, 2);
    assert.match(other.stderr, /allows no namespaces.*\n {2}next: be root, or allow user namespaces/);
    // The folder is a store of its own then, and what it evaluates is found.
    const planned = await machine.run(
      nixferryCommand,
      ['plan', '-f', 'default.nix', '-A', 'text', ...trust, '--json'],
      {
        ...without,
        cwd: machine.directory,
      },
    );
    assert.match(planned.stdout, /-evaluated-here/, planned.stderr);
  });

  test('get-nix takes the newest of a channel, the one for this machine', async () => {
    const machine = await open('channel');
    const folder = path.join(closure.directory, 'channels/nixos-26.05');
    await mkdir(folder, { recursive: true });
    const older = closure.storePath.replace(/nix-[\d.]+$/, 'nix-2.3.16');
    const list = [older, closure.paths[0], closure.storePath, `${closure.storePath}-man`].join('\n');
    await writeFile(path.join(folder, 'store-paths'), `${list}\n`);
    await nix.run('/bin/sh', ['-euc', 'xz -k "$0/store-paths"', folder]);
    const channels = ['--channels-base', `${server.url}/channels`];
    const { stdout } = await machine.run(
      nixferryCommand,
      ['get-nix', 'channel:nixos-26.05', ...channels, ...trust, '--json'],
      {
        env: envOf(machine),
      },
    );
    assert.equal(lastLine({ stdout })['storePath'], closure.storePath);
  });

  test('get-nix refuses what nobody trusted has signed, and what is for another machine', async () => {
    const machine = await open('refusals');
    const fail = (...args: string[]) =>
      machine.run(nixferryCommand, ['get-nix', ...args], { env: envOf(machine), exitCode: 'any' });
    const unsigned = await fail(closure.storePath, '--upstream', server.url);
    assert.equal(unsigned.exitCode, 18);
    assert.match(unsigned.stderr, /not signed by a key that counts here/);
    const system = nixSystem() === 'aarch64-linux' ? 'x86_64-linux' : 'aarch64-linux';
    const releases = ['--releases-base', `${server.url}/releases`];
    const foreign = await fail(closure.version, '--system', system, ...releases, ...trust);
    assert.equal(foreign.exitCode, 2);
    assert.match(foreign.stderr, new RegExp(`is a Nix for ${nixSystem()}, not for ${system}`));
    const unknown = await fail(closure.version, '--system', 'mips-linux', ...releases, ...trust);
    assert.match(unknown.stderr, /names no Nix for mips-linux\nnext: {2}it has: .*choose with --system/);
    const absent = await fail('9.9.9', ...releases, ...trust);
    assert.match(absent.stderr, /there is no .*\/nix-9\.9\.9\/fallback-paths\.nix/);
    await assert.rejects(stat(path.join(envOf(machine).NIXFERRY_NIX, 'nix.json')), /ENOENT/);
  });

  test('get-nix goes on where it was interrupted, and leaves nothing half', async () => {
    const { machine } = await withNix();
    const store = path.join(envOf(machine).NIXFERRY_NIX, 'root/nix/store');
    const there = await readdir(store);
    await mkdir(path.join(store, '.tmp-0123456789abcdef01234567/read-only'), { recursive: true, mode: 0o555 });
    await machine.run(nixferryCommand, ['get-nix', closure.storePath, ...trust], { env: envOf(machine) });
    assert.deepEqual(await readdir(store), there);
  });

  test('a Nix that is too old is named with its cure, and the one of get-nix takes its place', async () => {
    const { machine } = await withNix();
    const old = await withOldNix(
      machine,
      'error: evaluation aborted: This version of Nixpkgs requires Nix >= 2.4, please upgrade:',
    );
    const plan = ['plan', '-f', 'default.nix', '-A', 'text', ...trust, '--json'];
    const options = { exitCode: 'any', cwd: machine.directory } as const;
    const done = await machine.run(nixferryCommand, plan, { ...options, env: old });
    assert.match(done.stdout, /-evaluated-here/, done.stderr);
    const none = { ...old, NIXFERRY_NIX: path.join(machine.directory, 'nowhere') };
    const refused = await machine.run(nixferryCommand, plan, { ...options, env: none });
    assert.equal(refused.exitCode, 2);
    assert.equal(lastLine(refused)['code'], 'nix-too-old');
    assert.match(
      refused.stderr,
      /the Nix 2\.3\.16 here is too old; 2\.4 or newer is needed:[^]*\nnext: {2}type nixferry get-nix/,
    );
  });
});

const EXPRESSION = `{
  text = derivation { name = "evaluated-here"; system = builtins.currentSystem; builder = "/bin/sh"; };
}
`;

function envOf(machine: NoNix): Record<string, string> & { NIXFERRY_NIX: string } {
  const at = (name: string) => path.join(machine.directory, name);
  return { ...machine.env, NIXFERRY_MIRROR: at('mirror'), NIXFERRY_NIX: at('private nix') };
}

/** A PATH with a Nix on it that refuses everything but to tell its version. */
async function withOldNix(machine: NoNix, complaint: string): Promise<Record<string, string>> {
  const folder = path.join(machine.directory, 'old-nix');
  await mkdir(folder, { recursive: true });
  const script = `#!/bin/sh\ncase $1 in --version) echo 'nix (Nix) 2.3.16' ;; *) echo '${complaint}' >&2; exit 1 ;; esac\n`;
  await writeFile(path.join(folder, 'nix'), script, { mode: 0o755 });
  await symlink('nix', path.join(folder, 'nix-store'));
  const env = envOf(machine);
  return { ...env, PATH: `${folder}:${env['PATH']}` };
}

function lastLine({ stdout }: Pick<RunResult, 'stdout'>): Record<string, unknown> {
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '{}') as Record<string, unknown>;
}
