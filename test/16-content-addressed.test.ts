// Derivations whose outputs are named by what is in them: nobody knows their paths before they are built, but for caches that say so. What such a
// cache says crosses the gap, so that a client there fetches what it could not build.

import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { exportRootToMedium, type Medium, openSite, type Site } from './support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { nixferryCommand } from './support/nixferry.ts';
import type { RunResult } from './support/run.ts';
import { type StaticServer, serveDirectory } from './support/static-server.ts';

suite('content-addressed derivations', () => {
  const cleanUp = new AsyncDisposableStack();
  let connected: NixEnvironment;
  let upstream: StaticServer;
  let publicKey: string;
  /** Without it, neither `library` nor `tool` can be built. */
  let internet: string;
  let file: string;

  before(async () => {
    const builder = cleanUp.use(await createNixEnvironment());
    const inside = (name: string) => path.join(builder.directory, name);
    [internet, file] = [inside('internet'), inside('default.nix')];
    await writeFile(internet, 'reached\n');
    await writeFile(file, expression(internet, 'as it was'));
    const [secretFile, publicFile] = [inside('secret'), inside('public')];
    await builder.run('nix-store', ['--generate-binary-cache-key', 'public-1', secretFile, publicFile]);
    publicKey = (await readFile(publicFile, 'utf8')).trim();
    await mkdir(inside('cache'));
    const sign = ['--option', 'secret-key-files', secretFile];
    await builder.run('nix', ['copy', ...sign, '--to', `file://${inside('cache')}`, '-f', file, 'tool']);
    upstream = cleanUp.use(await serveDirectory(inside('cache')));
    connected = cleanUp.use(await createNixEnvironment());
  });
  after(() => cleanUp.disposeAsync());

  async function exportRoot(name: string, attribute: string, ...flags: readonly string[]): Promise<Medium> {
    const directory = path.join(connected.directory, name);
    await mkdir(directory);
    const root = ['-f', file, '-A', attribute];
    return exportRootToMedium({ nix: connected, root, url: upstream.url, publicKey, site: 'lab', directory, flags });
  }

  function build(site: Site, client: NixEnvironment, attribute: string, from = file): Promise<RunResult> {
    const settings = {
      substituters: site.url,
      'trusted-public-keys': site.publicKey,
      'require-sigs': 'true',
      substitute: 'true',
    };
    const options = Object.entries(settings).flatMap(([name, value]) => ['--option', name, value]);
    return client.run('nix-build', ['--no-out-link', from, '-A', attribute, ...options], { exitCode: 'any' });
  }

  test('are carried to be run, and real Nix fetches them where they cannot be built', async () => {
    const medium = await exportRoot('run', 'tool', '--scope', 'run');
    assert.equal((await readdir(path.join(medium.mirror, 'realisations'))).length, 2);
    await using site = await openSite(medium);
    await using client = await createNixEnvironment({ network: site.gap.namespace });
    await withoutInternet(async () => {
      const { stdout, stderr, exitCode } = await build(site, client, 'tool');
      assert.equal(exitCode, 0, stderr);
      assert.match(
        await readFile(client.physical(stdout.trim()), 'utf8'),
        /^tool made with \/nix\/store\/.*-library$/m,
      );
    });
  });

  test('are carried to be changed around: a client builds what it changed and fetches them', async () => {
    const medium = await exportRoot('reconfigure', 'system', '--scope', 'reconfigure');
    await using site = await openSite(medium);
    await using client = await createNixEnvironment({ network: site.gap.namespace });
    const changed = path.join(client.directory, 'changed.nix');
    await writeFile(changed, expression(internet, 'changed'));
    await withoutInternet(async () => {
      const { stdout, stderr, exitCode } = await build(site, client, 'system', changed);
      assert.equal(exitCode, 0, stderr);
      assert.match(
        await readFile(client.physical(stdout.trim()), 'utf8'),
        /^changed system of \/nix\/store\/.*-tool$/m,
      );
    });
    const { stdout } = await site.gap.run(nixferryCommand, ['check', '--mirror', site.mirror]);
    assert.match(stdout, /build 1 derivation, /);
  });

  test('are no root at run where no cache says what they are', async () => {
    const args = ['collect', '-f', file, '-A', 'unknown', '--scope', 'run', '--upstream', upstream.url];
    const trust = ['--trusted-public-key', publicKey, '--mirror', path.join(connected.directory, 'unknown')];
    const { stderr, exitCode } = await connected.run(nixferryCommand, [...args, ...trust], { exitCode: 'any' });
    assert.equal(exitCode, 2);
    assert.match(stderr, /-unknown\.drv gives is known only once it is built, and no cache says what it was/);
  });

  async function withoutInternet(act: () => Promise<void>): Promise<void> {
    await rm(internet);
    try {
      await act();
    } finally {
      await writeFile(internet, 'reached\n');
    }
  }
});

function expression(internet: string, setting: string): string {
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
