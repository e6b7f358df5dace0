// What was collected with the Nix of this machine is rehearsed with those of newer releases, brought as store paths: what is
// carried must do for whichever Nix the isolated side has.

import assert from 'node:assert/strict';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { EXIT } from '../../src/base/errors.ts';
import { makeNixClosure } from '../support/nix-closure.ts';
import { nixferryCommand } from '../support/nixferry.ts';
import { openPackageCrossing, type PackageCrossing } from '../support/package-crossing.ts';
import { writePinnedProject } from '../support/pinned-project.ts';
import { debianChroot } from './debian-chroot.ts';

const CHANNEL_VARIANT = 'programs.fish.enable = true;';

suite('what was collected, rehearsed with a newer Nix', () => {
  const cleanUp = new AsyncDisposableStack();
  let crossing: PackageCrossing;
  let mirror: string;

  const nixferry = (args: readonly string[], exitCode = EXIT.complete as number) =>
    crossing.connected.run(nixferryCommand, args, { timeoutMs: 600_000, exitCode });

  before(async () => {
    crossing = cleanUp.use(await openPackageCrossing());
    mirror = path.join(crossing.connected.directory, 'mirror');
    const collect = ['collect', '--no-probes', '--variant', CHANNEL_VARIANT, ...crossing.trust, '--mirror', mirror];
    await nixferry([...collect, crossing.origin.installable]);
    await nixferry([...collect, ...crossing.channelRoot]);
    const pinned = path.join(await writePinnedProject(crossing), 'default.nix');
    const plain = ['collect', ...crossing.trust, '--mirror', mirror];
    await nixferry([...plain, '-f', pinned, '--scope', 'reconfigure']);
  });
  after(() => cleanUp.disposeAsync());

  for (const release of ['trixie', 'sid']) {
    test(`the Nix of Debian ${release} builds all of it, and names what is then removed`, async (context) => {
      const system = await debianChroot(release);
      const { storePath, version, directory } = await makeNixClosure({ nix: crossing.connected, system });
      // Only the paths in the store are wanted; the next one makes its cache at the same place.
      await rm(directory, { recursive: true });
      context.diagnostic(`nix (Nix) ${version}`);
      const rehearse = ['rehearse', '--mirror', mirror, '--json', '--nix', path.join(storePath, 'bin/nix')];
      const whole = await nixferry(rehearse);
      const { verdict, nix, roots } = JSON.parse(whole.stdout.trimEnd().split('\n').at(-1) ?? '');
      assert.equal(verdict, 'complete');
      assert.ok(nix.includes(version), nix);
      for (const root of roots) {
        for (const { variant, unforeseen, evaluation } of root.targets) {
          assert.deepEqual(unforeseen, [], variant);
          assert.notEqual(evaluation, 'recorded', variant);
        }
      }

      await using removed = await removeDevelopmentOutput(mirror);
      const broken = await nixferry(rehearse, EXIT.partial);
      const report = JSON.parse(broken.stdout.trimEnd().split('\n').at(-1) ?? '') as RehearsalReport;
      const missing = report.roots.flatMap(({ targets }) => targets.flatMap((target) => target.missing ?? []));
      assert.ok(
        missing.some(({ what, isCause }) => what === removed.path && isCause),
        JSON.stringify(missing),
      );
      // The leaves are read from what Nix says, which each release words in its own way.
      assert.ok(
        missing.some(({ derivation }) => derivation?.endsWith('.tar.gz.drv') === true),
        JSON.stringify(missing),
      );
    });
  }
});

interface RehearsalReport {
  readonly roots: readonly {
    readonly targets: readonly {
      readonly missing?: readonly { readonly what: string; readonly isCause: boolean; readonly derivation?: string }[];
    }[];
  }[];
}

/** Brought back on disposal. */
async function removeDevelopmentOutput(mirror: string): Promise<{ path: string } & AsyncDisposable> {
  for (const name of (await readdir(mirror)).filter((file) => file.endsWith('.narinfo'))) {
    const file = path.join(mirror, name);
    const text = await readFile(file, 'utf8');
    const storePath = /^StorePath: (.*-kmod-\S*-dev)$/m.exec(text)?.[1];
    if (storePath === undefined) continue;
    await rm(file);
    return { path: storePath, [Symbol.asyncDispose]: () => writeFile(file, text) };
  }
  throw new Error('the mirror has no development output of kmod');
}
