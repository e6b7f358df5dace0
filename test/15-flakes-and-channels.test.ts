// Evaluating behind the gap: what flakes, channels and pinned trees read is at hand, and moves on with each shipment.

import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { formatHash } from '../src/nix/hash.ts';
import { openSite } from './support/carry.ts';
import { type FileTree, narHashOf, tarballOf } from './support/file-tree.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { offlineEvaluationSuite } from './support/offline-evaluation-suite.ts';
import { openPackageClient } from './support/package-client.ts';
import { openPackageCrossing, type PackageCrossing } from './support/package-crossing.ts';

suite('what evaluation reads', () => {
  const cleanUp = new AsyncDisposableStack();
  let crossing: PackageCrossing;

  before(async () => {
    crossing = cleanUp.use(await openPackageCrossing());
  });
  after(() => cleanUp.disposeAsync());

  test('of a project with pinned tarballs is fetched by prime, kept by the garbage collector, and evaluates then', async () => {
    const { set, origin } = crossing;
    const project = await writePinnedProject(crossing);
    const root = ['-f', path.join(project, 'default.nix'), '--scope', 'reconfigure'];
    await using site = await openSite(await crossing.export('pinned', [], root));
    await using client = await openPackageClient({ site, origin });
    const folder = path.join(client.nix.directory, 'pinned');
    await client.nix.run('cp', ['-r', project, folder]);
    const build = ['--no-out-link', path.join(folder, 'default.nix')];
    assert.notEqual((await client.nix.run('nix-build', build, { exitCode: 'any' })).exitCode, 0);

    const { stdout } = await client.nix.run(nixferryCommand, ['prime']);
    assert.match(stdout, /^complete: /m);
    await client.nix.run('nix-collect-garbage');
    const [built = ''] = await client.nix.lines('nix-build', build);
    assert.match((await client.nix.run('cat', [built])).stdout, /^pinned 1\n.*-hello-2\.12/);
    assert.equal(await site.gap.attemptsToLeave(), 0);
    assert.ok(set.internet.url !== '');
  });

  test('of a file that was evaluated with <nixpkgs> has that as a channel', async () => {
    const { set, origin } = crossing;
    const file = path.join(origin.directory, 'default.nix');
    const root = ['-f', file, '-A', 'report', '-I', `nixpkgs=${set.nixpkgs}`, '--scope', 'reconfigure'];
    await using site = await openSite(await crossing.export('search-path', [], root));
    await using client = await openPackageClient({ site, origin });
    await client.nix.run('nix-channel', ['--add', `${site.url}/flakes/nixpkgs.tar.gz`, 'nixpkgs']);
    await client.nix.run('nix-channel', ['--update']);
    const found = 'nix-instantiate --eval -I nixpkgs="$(readlink -f "$HOME/.nix-defexpr/channels/nixpkgs")" -E "$0"';
    const args = ['-euc', found, '(import <nixpkgs> { }).hello.name'];
    assert.equal((await client.nix.run('/bin/sh', args)).stdout.trim(), '"hello-2.12"');
  });
});

offlineEvaluationSuite([
  { whose: 'this machine', chroot: async () => undefined, runsNixferry: true, locksTarballs: false },
]);

/** As niv and npins write it: sources by address and hash in a JSON file, fetched by `fetchTarball`. */
async function writePinnedProject({ set, connected }: PackageCrossing): Promise<string> {
  const tree: FileTree = { 'word.nix': '"pinned 1"\n' };
  await writeFile(path.join(set.internet.directory, 'words.tar.gz'), await tarballOf(tree, 'words-1'));
  const sha256 = formatHash(await narHashOf(tree), 'nix32', { prefix: false });
  const [nixpkgsHash = ''] = await connected.lines('nix-hash', ['--type', 'sha256', '--base32', set.nixpkgs]);
  const sources = {
    words: { url: `${set.internet.url}/words.tar.gz`, sha256 },
    nixpkgs: { url: `${set.internet.url}/nixpkgs/archive/99.11.tar.gz`, sha256: nixpkgsHash },
  };
  const directory = path.join(connected.directory, 'pinned-project');
  await mkdir(path.join(directory, 'nix'), { recursive: true });
  await writeFile(path.join(directory, 'nix/sources.json'), JSON.stringify(sources));
  await writeFile(
    path.join(directory, 'nix/sources.nix'),
    'builtins.mapAttrs (_: { url, sha256 }: builtins.fetchTarball { inherit url sha256; }) (builtins.fromJSON (builtins.readFile ./sources.json))\n',
  );
  await writeFile(
    path.join(directory, 'default.nix'),
    `let sources = import ./nix/sources.nix; pkgs = import sources.nixpkgs { };
in pkgs.stdenv.mkDerivation {
  name = "pinned";
  buildCommand = "echo '\${import (sources.words + "/word.nix")}' > $out; echo \${pkgs.hello} >> $out";
}
`,
  );
  return directory;
}
