// What a client misses behind the gap is asked for, with one Nix or several: by what the server was asked in vain, and by the derivation that could not be
// built. The next shipment brings it, and the same command succeeds.

import assert from 'node:assert/strict';
import { cp, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { EXIT } from '../../src/base/errors.ts';
import { type Medium, openSite, type Site } from './carry.ts';
import { nixferryCommand } from './nixferry.ts';
import { openPackageClient, type PackageClient } from './package-client.ts';
import { openPackageCrossing, type PackageCrossing } from './package-crossing.ts';

export interface WantingNix {
  readonly whose: string;
  /** The root of the system that has it; undefined for this machine. */
  readonly chroot: () => Promise<string | undefined>;
}

/** Each has a site and a connected mirror of its own, so that none is brought what another asked for. */
export function wantSuite(nixes: readonly WantingNix[]): void {
  suite('what is missing behind the gap', () => {
    const cleanUp = new AsyncDisposableStack();
    let crossing: PackageCrossing;
    let medium: Medium;

    before(async () => {
      crossing = cleanUp.use(await openPackageCrossing());
      const { origin } = crossing;
      medium = await crossing.export('report', ['--scope', 'reconfigure'], [`path:${origin.directory}#report`]);
    });
    after(() => cleanUp.disposeAsync());

    /** The list goes to the connected side, and what it asks for comes back. */
    async function askFor({ site, list, mirror }: { site: Site; list: string; mirror: string }): Promise<string> {
      const { connected, trust } = crossing;
      const from = ['--trust', site.publicKey, '--mirror', mirror, ...trust];
      const collected = await connected.run(nixferryCommand, ['collect', '--want', list, ...from]);
      const later = `${list}-shipment`;
      await mkdir(later);
      const to = ['--to', later, '--site', 'lab', '--no-tools', '--mirror', mirror];
      await connected.run(nixferryCommand, ['pack', ...to]);
      await site.gap.run(nixferryCommand, ['import', later, '--mirror', site.mirror]);
      return collected.stdout;
    }

    for (const { whose, chroot } of nixes) {
      suite(`of ${whose}`, () => {
        const siteCleanUp = new AsyncDisposableStack();
        let site: Site;
        let client: PackageClient;
        let project: string;
        let mirror: string;

        before(async () => {
          const { origin } = crossing;
          site = siteCleanUp.use(await openSite(medium));
          client = siteCleanUp.use(await openPackageClient({ site, origin, chroot: await chroot() }));
          project = await writeProject(client, origin.system);
          mirror = path.join(client.nix.directory, 'connected-mirror');
          await cp(medium.mirror, mirror, { recursive: true });
        });
        after(() => siteCleanUp.disposeAsync());

        const build = (name: string) => {
          const args = ['build', '--no-link', `path:${project}#${name}`, '--option', 'substitute', 'true'];
          return client.nix.run('nix', args, { exitCode: 'any', timeoutMs: 300_000 });
        };

        test('a package that a public cache has comes with the next shipment, once clients have asked for it', async () => {
          assert.notEqual((await build('hello')).exitCode, 0);
          const list = path.join(client.nix.directory, 'want');
          await wantSomething(site, list);
          const unknown = await crossing.connected.run(
            nixferryCommand,
            ['collect', '--want', list, '--mirror', mirror, ...crossing.trust],
            { exitCode: 'any' },
          );
          assert.equal(unknown.exitCode, EXIT.notTrusted);
          assert.match(await askFor({ site, list, mirror }), /no upstream has/);
          const { exitCode, stderr } = await build('hello');
          assert.equal(exitCode, 0, stderr);
        });

        test('what takes sources and tools that nobody has built is built once its derivation was sent', async () => {
          assert.notEqual((await build('own')).exitCode, 0);
          const { stdout } = await client.nix.run('nix', ['eval', '--raw', `path:${project}#own.drvPath`]);
          const list = path.join(client.nix.directory, 'want-own');
          const derivation = client.nix.physical(stdout.trim());
          await site.gap.run(nixferryCommand, ['want', '--to', list, '--drv', derivation, '--mirror', site.mirror]);
          await askFor({ site, list, mirror });
          const { exitCode, stderr } = await build('own');
          assert.equal(exitCode, 0, stderr);
          assert.equal(await site.gap.attemptsToLeave(), 0);
        });
      });
    }
  });
}

/** The server writes down what it was asked for every two seconds. */
async function wantSomething({ gap, mirror }: Site, list: string): Promise<void> {
  for (let attempt = 0; attempt < 30; attempt += 1) {
    const { stdout } = await gap.run(nixferryCommand, ['want', '--to', list, '--json', '--mirror', mirror]);
    const verdict = JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}') as { misses?: number };
    if ((verdict.misses ?? 0) > 0) return;
  }
  assert.fail('the server never wrote down what it was asked for');
}

async function writeProject(client: PackageClient, system: string): Promise<string> {
  const project = path.join(client.directory, 'more');
  await mkdir(project);
  await writeFile(
    path.join(project, 'flake.nix'),
    `{
  inputs.nixpkgs.url = "nixpkgs";
  outputs = { self, nixpkgs }: {
    packages.${system} = let pkgs = nixpkgs.legacyPackages.${system}; in {
      inherit (pkgs) hello;
      own = pkgs.stdenv.mkDerivation {
        name = "own";
        buildCommand = "cp \${pkgs.htop.src} $out; test -d \${pkgs.nano}";
      };
    };
  };
}
`,
  );
  return project;
}
