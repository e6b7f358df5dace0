// src/site is what an isolated site's clients need: configuration to paste, and what evaluation reads in their stores. It knows nothing of serving.
// This file says which settings of Nix make a client live from a mirror alone, and why; client-config.ts writes them down.

export interface ClientSetting {
  readonly name: string;
  readonly value: string | number | boolean | readonly string[];
  /** In the words of a newcomer; one sentence or two. */
  readonly why: string;
  /** In NixOS the value must push others aside that modules add to the same list. */
  readonly replacesOthers?: true;
  /** The first Nix that knows it. Older ones complain, so it is printed for the reader to switch on. */
  readonly since?: string;
}

export interface ClientSettingsOptions {
  readonly url: string;
  readonly publicKeys: readonly string[];
  readonly flakes: boolean;
}

/** Every Nix takes a registry file that does not exist for an empty one; up to 2.8, an empty setting makes all look-ups fail instead. */
export const ABSENT_REGISTRY = '/var/empty/flake-registry.json';

/** What builders find in the environment of the daemon, or of Nix where there is none. */
export interface BuilderVariable {
  readonly name: string;
  readonly value: string;
  readonly why: string;
}

/** The fetchers of nixpkgs look at these. */
export function builderEnvironment(url: string): BuilderVariable[] {
  const variables = [
    {
      name: 'NIX_CURL_FLAGS',
      // Curl otherwise waits minutes for each address of the internet.
      value: '--connect-timeout 3 --retry 0',
      why: 'Builds that download something try its original address first. Without these they wait minutes for an internet that is not there.',
    },
  ];
  if (url.startsWith('file:')) return variables;
  const hashed = {
    name: 'NIX_HASHED_MIRRORS',
    value: `${url}/hashed`,
    why: 'And then they ask here for the file, by its hash.',
  };
  return [...variables, hashed];
}

/** The settings in the order to print them; all but those with `since` are known to Nix 2.4 and newer. */
export function clientSettings({ url, publicKeys, flakes }: ClientSettingsOptions): ClientSetting[] {
  const settings: ClientSetting[] = [
    {
      name: 'substituters',
      value: [url],
      why: 'Where Nix fetches finished software from: the mirror and nothing else. With an address of the internet in this list, every command waits minutes for it.',
      replacesOthers: true,
    },
    {
      name: 'trusted-public-keys',
      value: publicKeys,
      why: 'Nix takes only what is signed with one of these keys. The mirror signs all that it holds.',
    },
    { name: 'require-sigs', value: true, why: 'Refuse what is not signed.' },
    {
      name: 'substitute',
      value: true,
      why: 'Said aloud, because Nix stops fetching altogether when it believes that this machine has no network. Where there is no network card at all but loopback, the nix command (2.8 to 2.34) heeds this only on its command line (--option substitute true) and in NIX_CONFIG; nix-store heeds it here.',
    },
    {
      name: 'connect-timeout',
      value: 3,
      why: 'Seconds to wait for the mirror when it is switched off; otherwise that can take two minutes for each try.',
    },
    {
      name: 'stalled-download-timeout',
      value: 30,
      why: 'Seconds after which a download that stands still is tried again; otherwise five minutes.',
    },
    {
      name: 'download-attempts',
      value: 3,
      why: 'Enough to go on after a broken connection, few enough not to wait long for a mirror that is gone.',
    },
    {
      name: 'fallback',
      value: true,
      why: 'When something cannot be fetched after all, build it instead of giving up.',
    },
    {
      name: 'narinfo-cache-negative-ttl',
      value: 0,
      why: 'Do not remember what the mirror lacked: the next import may have brought it.',
    },
    {
      name: 'always-allow-substitutes',
      value: true,
      why: 'Also fetch small things that Nix would rather build here itself, and would need compilers for.',
      since: '2.19',
    },
  ];
  if (!url.startsWith('file:')) settings.push(hashedMirrors(url));
  return flakes ? [...settings, ...flakeSettings(url)] : settings;
}

function hashedMirrors(url: string): ClientSetting {
  return {
    name: 'hashed-mirrors',
    value: [`${url}/hashed`],
    why: 'Sources that Nix fetches by itself are asked for here by their hashes, before the internet is.',
  };
}

function flakeSettings(url: string): ClientSetting[] {
  return [FLAKE_FEATURES, ...(url.startsWith('file:') ? WITHOUT_REGISTRY : withRegistry(url))];
}

const FLAKE_FEATURES: ClientSetting = {
  name: 'experimental-features',
  value: ['nix-command', 'flakes'],
  why: 'Flakes, and the nix command; without them Nix complains about the two settings below.',
};

/** A served mirror answers for the names of flakes and their newest revisions. */
function withRegistry(url: string): ClientSetting[] {
  return [
    {
      name: 'flake-registry',
      value: `${url}/flake-registry.json`,
      why: 'Short names of flakes, such as nixpkgs, are looked up in a list that otherwise is on the internet. They mean the newest revision that the mirror has.',
    },
    {
      name: 'tarball-ttl',
      value: 60,
      why: 'Seconds after which the mirror is asked again what a name or a channel means: the next import may have brought something newer.',
    },
  ];
}

const WITHOUT_REGISTRY: readonly ClientSetting[] = [
  {
    name: 'flake-registry',
    value: ABSENT_REGISTRY,
    why: 'Short names of flakes are looked up in a list on the internet. A file that does not exist is an empty list; names of your own, made with nix registry add, still work.',
  },
  {
    name: 'tarball-ttl',
    value: 4_294_967_295,
    why: 'Sources that were fetched once stay good: nobody can be asked whether they are still the newest.',
  },
];
