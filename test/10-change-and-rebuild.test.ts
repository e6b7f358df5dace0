// A NixOS configuration goes over the gap once. Then somebody there changes an option, and Nix rebuilds it from what was
// carried: completions for fish are generated, an archive of locales and an initrd are built, with no internet to ask.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { NIXOS_PROBES } from '../src/evaluate/nixos-probes.ts';
import { parseVariant } from '../src/evaluate/variant.ts';
import { openSite, type Site } from './support/carry.ts';
import { openPackageClient, type PackageClient } from './support/package-client.ts';
import { openPackageCrossing, type PackageCrossing } from './support/package-crossing.ts';

/** Carried besides what every NixOS is probed with. */
const VARIANTS: readonly string[] = [
  'services.nginx = { enable = true; virtualHosts.intranet.root = "/srv"; };',
  'boot.loader.systemd-boot.enable = true;',
];

interface Change {
  /** What is written into the configuration on the isolated side. */
  readonly module: string;
  /** A file of the new system, and what it says then. */
  readonly file: string;
  readonly says: RegExp;
}

/** None of them is what was evaluated on the connected side, to the letter. */
const CHANGES: Readonly<Record<string, Change>> = {
  'the name of the host': {
    module: 'networking.hostName = lib.mkForce "lab-7";',
    file: 'etc/hostname',
    says: /^lab-7$/m,
  },
  'a user': {
    module: 'users.users.bob = { isNormalUser = true; extraGroups = [ "wheel" ]; packages = [ pkgs.hello ]; };',
    file: 'etc/profiles/per-user/bob/bin/hello',
    says: /hello 2\.12/,
  },
  'the locale': {
    module: 'i18n.defaultLocale = "de_AT.UTF-8";',
    file: 'sw/lib/locale/locale-archive',
    says: /^de_AT\.UTF-8/m,
  },
  'a kernel module': {
    module: 'boot.kernelModules = [ "kvm-intel" ]; boot.extraModprobeConfig = "options kvm nested=1";',
    file: 'etc/modules-load.d/nixos.conf',
    says: /^kvm-intel$/m,
  },
  'a module of the initrd': {
    module: 'boot.initrd.availableKernelModules = [ "nvme" "xhci_pci" ];',
    file: 'initrd',
    says: /\/xhci_pci\.ko$/m,
  },
  'a service of one’s own': {
    module:
      'systemd.services.backup = { script = "hello"; path = [ pkgs.hello ]; wantedBy = [ "multi-user.target" ]; };',
    file: 'etc/systemd/system/backup.service',
    says: /unit-script-backup-start/,
  },
  'a script as package': {
    module: 'environment.systemPackages = [ (pkgs.writeShellScriptBin "tidy" "rm -rf /tmp/*") ];',
    file: 'sw/bin/tidy',
    says: /rm -rf/,
  },
  fish: {
    module: 'programs.fish = { enable = true; interactiveShellInit = "set -x EDITOR nano"; };',
    file: 'etc/fish/generated_completions/openssh.fish',
    says: /^# generated\ncomplete -c openssh -l help/,
  },
  'the boot loader': {
    module: 'boot.loader.systemd-boot.enable = true; boot.loader.timeout = 2;',
    file: 'bin/install-bootloader',
    says: /-systemd-256 2$/m,
  },
  'the web server': {
    module: 'services.nginx.enable = true; services.nginx.virtualHosts.wiki = { };',
    file: 'etc/systemd/system/nginx.service',
    says: /nginx\.conf/,
  },
  'ports, mounts and settings of the kernel': {
    module:
      'networking.firewall.allowedTCPPorts = [ 8443 ]; boot.kernel.sysctl."kernel.panic" = 9; fileSystems."/srv".device = "/dev/vdb1";',
    file: 'etc/fstab',
    says: /^\/dev\/vdb1 \/srv/m,
  },
};

suite('a configuration that was carried at reconfigure', () => {
  const cleanUp = new AsyncDisposableStack();
  let crossing: PackageCrossing;

  before(async () => {
    crossing = cleanUp.use(await openPackageCrossing());
  });
  after(() => cleanUp.disposeAsync());

  async function openClient(site: Site): Promise<PackageClient> {
    return openPackageClient({ site, origin: crossing.origin });
  }

  suite('with its variants', () => {
    let site: Site;

    before(async () => {
      const variants = VARIANTS.flatMap((module) => ['--variant', module]);
      site = cleanUp.use(await openSite(await crossing.export('with-variants', variants)));
    });

    test('is rebuilt as it is', async () => {
      await using client = await openClient(site);
      const { stdout: system } = await client.rebuildFlake();
      assert.match(await readSystem(client, system, 'etc/hostname'), /^web01$/m);
    });

    for (const [what, change] of Object.entries(CHANGES)) {
      test(`is rebuilt when somebody changes ${what}`, async () => {
        await using client = await openClient(site);
        await client.change(change.module);
        const { stdout: system } = await client.rebuildFlake();
        assert.match(await readSystem(client, system, change.file), change.says);
      });
    }

    for (const { name, module } of [...NIXOS_PROBES, ...VARIANTS.map((text) => parseVariant(text))]) {
      test(`is rebuilt as its variant: ${name}`, async () => {
        await using client = await openClient(site);
        await client.change(module);
        await client.rebuildFlake();
      });
    }

    test('nothing tried to reach another machine meanwhile', async () => {
      assert.equal(await site.gap.attemptsToLeave(), 0);
    });
  });
});

async function readSystem({ nix }: PackageClient, system: string, file: string): Promise<string> {
  return (await nix.run('cat', [path.join(system, file)])).stdout;
}
