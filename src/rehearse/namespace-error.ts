import { readFileSync } from 'node:fs';
import { NixferryError } from '../base/errors.ts';

/** What a system said that did not let a namespace be made or furnished, as an error with the cure for this machine. */
export function explainNamespaceError(complaints: string, read: (file: string) => string = readSetting): NixferryError {
  const said = complaints.trim();
  return new NixferryError(
    'namespace-refused',
    `this system does not let a rehearsal have a room of its own${said === '' ? '' : `:\n${said}`}`,
    { hint: IN_A_CHROOT.test(said) ? OUTSIDE : cure(read) },
  );
}

/** The settings of the kernel that stand in the way, as far as they can be told. */
const SWITCHES = [
  { file: '/proc/sys/user/max_user_namespaces', bad: '0', set: 'user.max_user_namespaces=10000' },
  { file: '/proc/sys/kernel/unprivileged_userns_clone', bad: '0', set: 'kernel.unprivileged_userns_clone=1' },
  {
    file: '/proc/sys/kernel/apparmor_restrict_unprivileged_userns',
    bad: '1',
    set: 'kernel.apparmor_restrict_unprivileged_userns=0',
  },
];

// The root of a chroot is no mount of its own, so a namespace within it could not be kept apart.
const IN_A_CHROOT = /cannot change root filesystem propagation/;
const OUTSIDE = 'this seems to be a chroot: rehearse outside of it, where --nix names the Nix that is wanted';

function cure(read: (file: string) => string): string {
  const wrong = SWITCHES.filter(({ file, bad }) => read(file).trim() === bad);
  if (wrong.length > 0) {
    return `allow it (sysctl -w ${wrong.map(({ set }) => set).join(' ')}), or type the same command as root`;
  }
  if (process.getuid?.() === 0) {
    return 'root in a container often may not: start the container with more rights (podman or docker run --privileged), or rehearse outside of it';
  }
  return 'type the same command as root; in a container, start that with more rights (--privileged), or rehearse outside of it';
}

function readSetting(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // Not every kernel has every switch.
    return '';
  }
}
