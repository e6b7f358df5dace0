// Changing a configuration behind the gap with the Nix that people have: evaluated and carried with Debian's 2.8, rebuilt
// with those of Debian's newer releases, once from a flake and once from a channel.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { openSite, type Site } from '../support/carry.ts';
import { openPackageClient } from '../support/package-client.ts';
import { openPackageCrossing, type PackageCrossing } from '../support/package-crossing.ts';
import { debianChroot, nixVersionIn } from './debian-chroot.ts';

const CHANGE = `
  networking.hostName = lib.mkForce "lab-7";
  programs.fish.enable = true;
  i18n.defaultLocale = "de_AT.UTF-8";
  boot.initrd.availableKernelModules = [ "nvme" ];
`;

suite('a configuration that was carried at reconfigure', () => {
  const cleanUp = new AsyncDisposableStack();
  let crossing: PackageCrossing;
  let flakeSite: Site;
  let channelSite: Site;

  before(async () => {
    crossing = cleanUp.use(await openPackageCrossing());
    flakeSite = cleanUp.use(await openSite(await crossing.export('flake')));
    channelSite = cleanUp.use(await openSite(await crossing.export('channel', [], crossing.channelRoot)));
  });
  after(() => cleanUp.disposeAsync());

  for (const { release, atLeast } of [
    { release: undefined, atLeast: [2, 8] },
    { release: 'trixie', atLeast: [2, 26] },
    { release: 'sid', atLeast: [2, 34] },
  ] as const) {
    const whose = release === undefined ? 'this machine' : `Debian ${release}`;

    test(`is changed and rebuilt from its flake by the Nix of ${whose}`, async (context) => {
      const chroot = release === undefined ? undefined : await debianChroot(release);
      if (chroot !== undefined) await assertVersion(chroot, atLeast, (text) => context.diagnostic(text));
      await using client = await openPackageClient({ site: flakeSite, origin: crossing.origin, chroot });
      await client.change(CHANGE);
      await assertChanged(client.nix, (await client.rebuildFlake()).stdout);
    });

    test(`is changed and rebuilt from its channel by the Nix of ${whose}`, async () => {
      const chroot = release === undefined ? undefined : await debianChroot(release);
      await using client = await openPackageClient({ site: channelSite, origin: crossing.origin, chroot });
      await client.change(CHANGE);
      const nixpkgs = (await client.prime()).get('nixpkgs') ?? '';
      await assertChanged(client.nix, (await client.rebuildChannel(nixpkgs)).stdout);
    });
  }

  test('nothing tried to reach another machine meanwhile', async () => {
    assert.equal((await flakeSite.gap.attemptsToLeave()) + (await channelSite.gap.attemptsToLeave()), 0);
  });
});

async function assertVersion(
  chroot: string,
  [atLeastMajor, atLeastMinor]: readonly [number, number],
  say: (text: string) => void,
): Promise<void> {
  const version = await nixVersionIn(chroot);
  say(`nix (Nix) ${version}`);
  const [major = 0, minor = 0] = version.split('.').map(Number);
  assert.ok(major > atLeastMajor || (major === atLeastMajor && minor >= atLeastMinor), version);
}

async function assertChanged(nix: { lines(command: string, args: string[]): Promise<string[]> }, system: string) {
  assert.deepEqual(await nix.lines('cat', [`${system}/etc/hostname`]), ['lab-7']);
  const [first] = await nix.lines('cat', [`${system}/etc/fish/generated_completions/openssh.fish`]);
  assert.equal(first, '# generated');
}
