import { formatCount } from '../../base/amounts.ts';
import { NixFormatError } from '../../nix/format-error.ts';
import { type PublicKey, parsePublicKey } from '../../nix/signature.ts';
import { type Finding, fine, inShell, problem, settingRemedy, warning } from './finding.ts';
import type { Machine } from './machine.ts';

export type SettingValues = ReadonlyMap<string, readonly string[]>;

export function settingOf(values: SettingValues, name: string): string | undefined {
  return values.get(name)?.join(' ');
}

export function numberOf(values: SettingValues, name: string): number | undefined {
  const text = settingOf(values, name);
  return text === undefined || !/^\d+$/.test(text) ? undefined : Number(text);
}

/** The longest that a connection may take before a dead cache makes everything unbearable. */
const LONG_CONNECT_SECONDS = 10;

/** What can be said of the settings alone. */
export function checkSettings(values: SettingValues, machine: Machine): Finding[] {
  return [
    checkSubstitute(values, machine),
    checkRequireSigs(values, machine),
    ...checkKeys(values, machine),
    checkConnectTimeout(values, machine),
    checkFallback(values, machine),
    checkNegativeTtl(values, machine),
  ];
}

function checkSubstitute(values: SettingValues, machine: Machine): Finding {
  if (settingOf(values, 'substitute') !== 'false') {
    if (machine.hasNetwork) return fine('substitute', 'Nix fetches from caches (substitute = true)');
    return warning(
      'no-network-interface',
      'this machine has no address but loopback; Nix takes that for no network at all, and fetches only because NIX_CONFIG or its command line says so',
    );
  }
  if (machine.hasNetwork) {
    const remedy = settingRemedy(machine, 'turn it on', { name: 'substitute', value: true });
    return problem('substitute-off', 'Nix fetches nothing: the setting substitute is false', remedy);
  }
  return problem(
    'no-network-interface',
    'this machine has no address but loopback; Nix takes that for no network at all, and fetches nothing. What nix.conf says of substitute is not heeded by the nix command then (2.8 to 2.34)',
    inShell(
      'give the machine an address; or say it where Nix heeds it: in NIX_CONFIG, or as --option substitute true',
      "export NIX_CONFIG='substitute = true'",
    ),
  );
}

function checkRequireSigs(values: SettingValues, machine: Machine): Finding {
  if (settingOf(values, 'require-sigs') !== 'false')
    return fine('require-sigs', 'unsigned paths are refused (require-sigs = true)');
  const remedy = settingRemedy(machine, 'refuse what is not signed', { name: 'require-sigs', value: true });
  return warning('require-sigs', 'whatever a cache gives is taken, signed or not (require-sigs = false)', remedy);
}

/** The keys that Nix trusts here; those that it could not read are left out. */
export function trustedKeys(values: SettingValues): readonly PublicKey[] {
  return (values.get('trusted-public-keys') ?? []).flatMap((text) => parseKey(text) ?? []);
}

function parseKey(text: string): PublicKey | undefined {
  try {
    return parsePublicKey(text);
  } catch (error) {
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

function checkKeys(values: SettingValues, machine: Machine): Finding[] {
  const texts = values.get('trusted-public-keys') ?? [];
  const malformed = texts.filter((text) => parseKey(text) === undefined);
  if (malformed.length > 0) {
    const remedy = settingRemedy(machine, 'copy each key whole, as nixferry keys show prints it on the server', {
      name: 'trusted-public-keys',
      value: texts.filter((text) => !malformed.includes(text)),
    });
    return [problem('bad-key', `trusted-public-keys holds what is no key: ${malformed.join(' ')}`, remedy)];
  }
  if (texts.length > 0)
    return [fine('trusted-keys', `trusted here: ${texts.map((text) => text.split(':')[0]).join(', ')}`)];
  return [
    problem('no-keys', 'no key is trusted (trusted-public-keys is empty): Nix refuses everything that is fetched', {
      cure: 'take the line that the page of your mirror at / gives',
    }),
  ];
}

function checkConnectTimeout(values: SettingValues, machine: Machine): Finding {
  const seconds = numberOf(values, 'connect-timeout') ?? 0;
  if (seconds > 0 && seconds <= LONG_CONNECT_SECONDS)
    return fine('connect-timeout', `a cache that is off costs ${seconds} s a try`);
  const cost = seconds === 0 ? 'two minutes' : `${seconds} s`;
  const remedy = settingRemedy(machine, 'wait no longer than a LAN needs', { name: 'connect-timeout', value: 3 });
  return warning(
    'connect-timeout',
    `a cache that is switched off costs ${cost} for each try (connect-timeout)`,
    remedy,
  );
}

function checkFallback(values: SettingValues, machine: Machine): Finding {
  if (settingOf(values, 'fallback') === 'true')
    return fine('fallback', 'what cannot be fetched is built (fallback = true)');
  const remedy = settingRemedy(machine, 'let Nix build then', { name: 'fallback', value: true });
  return warning(
    'fallback',
    'when a cache fails in the middle, Nix gives up instead of building (fallback = false)',
    remedy,
  );
}

function checkNegativeTtl(values: SettingValues, machine: Machine): Finding {
  const seconds = numberOf(values, 'narinfo-cache-negative-ttl') ?? 3600;
  if (seconds <= 60) return fine('negative-ttl', 'what a cache lacked is asked for again soon');
  const remedy = settingRemedy(machine, 'do not remember what a mirror nearby lacked', {
    name: 'narinfo-cache-negative-ttl',
    value: 0,
  });
  const text = `what a cache lacked is remembered as missing for ${formatCount(Math.round(seconds / 60), 'minute')}, also when it has come meanwhile`;
  return warning('negative-ttl', text, remedy);
}
