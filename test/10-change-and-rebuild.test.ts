// A NixOS configuration goes over the gap once. Then somebody there changes an option, and Nix rebuilds it from what was
// carried: completions for fish are generated, an archive of locales and an initrd are built, with no internet to ask.

import assert from 'node:assert/strict';
import { cp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { EXIT } from '../src/base/errors.ts';
import { NIXOS_PROBES } from '../src/evaluate/nixos-probes.ts';
import { parseVariant } from '../src/evaluate/variant.ts';
import { openSite, type Site } from './support/carry.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { openPackageClient, type PackageClient } from './support/package-client.ts';
import { openPackageCrossing, type PackageCrossing } from './support/package-crossing.ts';
import type { RunResult } from './support/run.ts';

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

suite('what was carried at reconfigure', () => {
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

    test('is found complete by check', async () => {
      const { stdout } = await site.gap.run(nixferryCommand, ['check', '--mirror', site.mirror]);
      assert.match(stdout, /nothing is missing/);
    });

    test('is found incomplete by check, and cannot be rebuilt, when one dev output is lost', async () => {
      const dev = [...crossing.cache.paths].find((storePath) => storePath.endsWith('-kmod-33-dev')) ?? '';
      const withoutDev = `${site.mirror}-without-dev`;
      await cp(site.mirror, withoutDev, { recursive: true });
      await rm(path.join(withoutDev, `${path.basename(dev).slice(0, 32)}.narinfo`));

      const { exitCode, stderr } = await check(site, withoutDev);
      assert.equal(exitCode, EXIT.partial);
      assert.deepEqual(missingPaths(stderr), [dev]);
      assert.match(stderr, /→ [0-9a-z]{32}-linux-6\.6\.1-modules-shrunk\.drv/);

      await using client = await openPackageClient({
        site: { ...site, url: `file://${withoutDev}` },
        origin: crossing.origin,
      });
      const attempt = await client.rebuildFlake('any');
      assert.notEqual(attempt.exitCode, 0);
      assert.match(attempt.stderr, /modules-shrunk\.drv' failed to build/);
    });

    test('nothing tried to reach another machine meanwhile', async () => {
      assert.equal(await site.gap.attemptsToLeave(), 0);
    });
  });

  suite('without variants', () => {
    let site: Site;
    let client: PackageClient;

    before(async () => {
      site = cleanUp.use(await openSite(await crossing.export('without-variants', ['--no-probes'])));
      client = cleanUp.use(await openClient(site));
    });

    test('lacks nothing when somebody changes the name of the host', async () => {
      await client.change('networking.hostName = lib.mkForce "lab-7";');
      const { exitCode, stderr } = await check(client, site.mirror, await client.instantiateFlake());
      assert.equal(exitCode, EXIT.complete, stderr);
      await client.rebuildFlake();
    });

    test('lacks the one derivation that upstream has for default options only when somebody changes the locale', async () => {
      await client.change('i18n.defaultLocale = "de_AT.UTF-8";');
      const { exitCode, stderr } = await check(client, site.mirror, await client.instantiateFlake());
      assert.equal(exitCode, EXIT.partial);
      const missing = missingPaths(stderr);
      assert.deepEqual(missing.map(nameOf), ['glibc-locales-2.40']);
      assert.equal(crossing.cache.paths.has(missing[0] ?? ''), false);
      assert.match(stderr, /for want of glibc-2\.40\.tar\.gz/);
      assert.match(stderr, /→ [0-9a-z]{32}-system-path\.drv/);

      const attempt = await client.rebuildFlake('any');
      assert.notEqual(attempt.exitCode, 0);
      assert.match(attempt.stderr, /cannot download glibc-2\.40\.tar\.gz/);
      assert.match(attempt.stderr, /glibc-locales-2\.40\.drv' failed to build/);
    });

    test('lacks shell, interpreter and generator when somebody enables fish', async () => {
      await client.change('programs.fish.enable = true;');
      const { exitCode, stderr } = await check(client, site.mirror, await client.instantiateFlake());
      assert.equal(exitCode, EXIT.partial);
      const names = missingPaths(stderr).map(nameOf);
      assert.ok(names.includes('fish-3.7') && names.includes('python3-3.12'), names.join());
      assert.notEqual((await client.rebuildFlake('any')).exitCode, 0);
    });
  });

  test('is rebuilt from its channel, once what evaluation fetched is in the store', async () => {
    await using site = await openSite(await crossing.export('channel', [], crossing.channelRoot));
    await using client = await openClient(site);
    const inputs = await client.prime();
    const nixpkgs = inputs.get('nixpkgs');
    assert.ok(nixpkgs !== undefined, [...inputs.keys()].join());
    await client.change('networking.hostName = lib.mkForce "lab-7"; programs.fish.enable = true;');
    const { stdout: system } = await client.rebuildChannel(nixpkgs);
    assert.match(await readSystem(client, system, 'etc/hostname'), /^lab-7$/m);
    assert.match(await readSystem(client, system, 'etc/motd'), /^Welcome\.$/m);
    assert.equal(await site.gap.attemptsToLeave(), 0);
  });

  for (const how of ['a flake', 'a file'] as const) {
    test(`of a program of one's own is rebuilt from ${how} when its source changes, without NixOS`, async () => {
      const { set, origin } = crossing;
      const file = ['-f', path.join(origin.directory, 'default.nix'), '-A', 'report', '-I', `nixpkgs=${set.nixpkgs}`];
      const root = how === 'a flake' ? [`path:${origin.directory}#report`] : file;
      await using site = await openSite(await crossing.export(`report-of-${how}`, ['--scope', 'reconfigure'], root));
      await using client = await openClient(site);
      await writeFile(path.join(client.directory, 'report/src/report'), 'echo report 2\n');
      const report = await client.rebuildReport(how === 'a flake' ? undefined : (await client.prime()).get('nixpkgs'));
      assert.match((await client.nix.run(path.join(report, 'bin/report'))).stdout, /^report 2$/m);
      assert.equal(await site.gap.attemptsToLeave(), 0);
    });
  }
});

async function readSystem({ nix }: PackageClient, system: string, file: string): Promise<string> {
  return (await nix.run('cat', [path.join(system, file)])).stdout;
}

/** `nixferry check`: of all roots, in the gap; of a derivation that was not collected, where its `.drv` files are. */
function check(where: Site | PackageClient, mirror: string, derivation?: string): Promise<RunResult> {
  const { run } = 'gap' in where ? where.gap : where.nix;
  const roots = derivation === undefined ? [] : [derivation];
  return run(nixferryCommand, ['check', ...roots, '--mirror', mirror], { exitCode: 'any' });
}

/** The paths that `check` names. */
function missingPaths(text: string): string[] {
  return [...text.matchAll(/^ *missing: (\S+)$/gm)].map(([, storePath = '']) => storePath);
}

function nameOf(storePath: string): string {
  return path.basename(storePath).slice(33);
}
