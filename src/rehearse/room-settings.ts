import type { AddressRewrite } from '../mirror/repository-address.ts';
import { formatPublicKey, type PublicKey } from '../nix/index.ts';
import { ROOM_CACHE } from './cache-view.ts';
import { ROOM_HOME, ROOM_USER } from './room.ts';

/** What the Nix of this machine is set to, and a rehearsal keeps. */
export interface HostSettings {
  readonly experimentalFeatures: readonly string[];
  readonly systemFeatures: readonly string[];
  readonly extraPlatforms: readonly string[];
  /** Whether builds run in a sandbox. */
  readonly sandbox: boolean;
  readonly sandboxPaths: readonly string[];
}

export interface RoomSettings {
  /** The mirror's key: the only one that is trusted. */
  readonly publicKey: PublicKey;
  readonly sandbox: boolean;
  readonly isRoot: boolean;
  readonly host: HostSettings;
  /** Builds at once. */
  readonly jobs: number;
  /** Which addresses git is to look for in the cache. */
  readonly gitRewrites?: readonly AddressRewrite[];
  /** Lines of nix.conf that the user adds: `name = value`. */
  readonly more: readonly string[];
}

/** Reads what `nix show-config` (`nix config show`) prints. */
export function parseHostSettings(printed: string, storeDir: string): HostSettings {
  const values = new Map<string, string>();
  for (const line of printed.split('\n')) {
    const [, name, value = ''] = /^([a-z0-9-]+) = ?(.*)$/.exec(line) ?? [];
    if (name !== undefined) values.set(name, value.trim());
  }
  const list = (name: string) => (values.get(name) ?? '').split(/\s+/).filter((word) => word !== '');
  return {
    experimentalFeatures: list('experimental-features'),
    systemFeatures: list('system-features'),
    extraPlatforms: list('extra-platforms'),
    // What is not said is on, as Nix has it by default.
    sandbox: values.get('sandbox') !== 'false',
    // The store of the room is empty: what lies in a store is not there. The Nix that is brought along knows a shell of its own.
    sandboxPaths: list('sandbox-paths').filter((entry) => !entry.includes(`${storeDir}/`)),
  };
}

/** The small files of a room: configuration of Nix, and the users that it wants to find. */
export function roomFiles(settings: RoomSettings): Map<string, string> {
  return new Map([
    ['/etc/nix/nix.conf', nixConf(settings)],
    ['/etc/gitconfig', gitConfig(settings.gitRewrites ?? [])],
    [REGISTRY, '{"flakes":[],"version":2}\n'],
    ['/etc/passwd', USERS.map((user) => `${user}\n`).join('')],
    ['/etc/group', `root:x:0:\nusers:x:${ROOM_USER.gid}:\n${BUILD_GROUP}:x:${BUILD_GID}:${BUILDERS.join()}\n`],
    ['/etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files\n'],
    ['/etc/hosts', '127.0.0.1 localhost\n::1 localhost\n'],
  ]);
}

const REGISTRY = '/etc/nix/registry.json';
const BUILD_GROUP = 'nixbld';
const BUILD_GID = 30_000;
const BUILDERS = Array.from({ length: 32 }, (_, index) => `nixbld${index + 1}`);
const USERS = [
  'root:x:0:0::/root:/bin/sh',
  `${ROOM_USER.name}:x:${ROOM_USER.uid}:${ROOM_USER.gid}::${ROOM_HOME}:/bin/sh`,
  ...BUILDERS.map((name, index) => `${name}:x:${BUILD_GID + 1 + index}:${BUILD_GID}::/var/empty:/bin/false`),
];

function nixConf({ publicKey, sandbox, isRoot, host, jobs, more }: RoomSettings): string {
  const features = new Set([...host.experimentalFeatures, 'nix-command', 'flakes']);
  const lines = [
    `substituters = file://${ROOM_CACHE}`,
    `trusted-public-keys = ${formatPublicKey(publicKey)}`,
    'require-sigs = true',
    // Said aloud: where there is no network card, Nix would otherwise stop substituting altogether.
    'substitute = true',
    'builders =',
    `build-users-group = ${isRoot ? BUILD_GROUP : ''}`,
    `sandbox = ${sandbox}`,
    'sandbox-fallback = false',
    `experimental-features = ${[...features].join(' ')}`,
    `flake-registry = ${REGISTRY}`,
    'tarball-ttl = 4294967295',
    // Whatever wants the network shall fail at once.
    'connect-timeout = 1',
    'download-attempts = 1',
    `max-jobs = ${jobs}`,
    'fsync-metadata = false',
    'keep-build-log = false',
    ...listed('system-features', host.systemFeatures),
    ...listed('extra-platforms', host.extraPlatforms),
    ...listed('sandbox-paths', host.sandboxPaths),
    ...more,
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/** The repositories belong to whoever made the mirror: git would believe nobody else. */
function gitConfig(rewrites: readonly AddressRewrite[]): string {
  const sections = rewrites.map(
    ({ base, insteadOf }) =>
      `[url "file://${ROOM_CACHE}/${base}"]\n${insteadOf.map((address) => `\tinsteadOf = ${address}\n`).join('')}`,
  );
  return `[safe]\n\tdirectory = *\n${sections.join('')}`;
}

function listed(name: string, values: readonly string[]): string[] {
  return values.length === 0 ? [] : [`${name} = ${values.join(' ')}`];
}
