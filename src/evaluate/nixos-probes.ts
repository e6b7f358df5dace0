import type { Variant } from './variant.ts';

/**
 * The changes that everybody makes to a NixOS sooner or later. What upstream has for default options it lacks for changed ones, so each of
 * these is evaluated, and what building it takes is carried. A probe touches what its name says and nothing else, holds for every
 * configuration (`mkForce` where it may be set already), and needs no package that is not there anyway.
 */
export const NIXOS_PROBES: readonly Variant[] = [
  { name: 'hostname', module: 'networking.hostName = lib.mkForce "nixferry-probe";' },
  { name: 'user', module: 'users.users.nixferry-probe.isNormalUser = true;' },
  // A locale that nearly nobody has: the archive of locales is built for the very ones that are set.
  { name: 'locale', module: 'i18n.defaultLocale = lib.mkForce "fr_CH.UTF-8";' },
  {
    name: 'kernel module',
    module: 'boot.kernelModules = [ "loop" ];\nboot.extraModprobeConfig = "options loop max_loop=16";',
  },
  // One that every kernel of nixpkgs has and hardly an initrd needs: the closure of modules is computed by building.
  { name: 'initrd module', module: 'boot.initrd.availableKernelModules = [ "nbd" ];' },
  {
    name: 'service',
    module: 'systemd.services.nixferry-probe = { wantedBy = [ "multi-user.target" ]; script = "true"; };',
  },
  { name: 'package', module: 'environment.systemPackages = [ (pkgs.writeShellScriptBin "nixferry-probe" "true") ];' },
  { name: 'fish', module: 'programs.fish.enable = true;' },
  { name: 'boot loader', module: 'boot.loader.timeout = lib.mkForce 7;' },
];
