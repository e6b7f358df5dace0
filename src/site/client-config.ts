import { NixferryError } from '../base/errors.ts';
import type { AddressRewrite } from '../mirror/repository-address.ts';
import { NixFormatError } from '../nix/format-error.ts';
import { formatPublicKey, parsePublicKey } from '../nix/signature.ts';
import { ABSENT_REGISTRY, builderEnvironment, type ClientSetting, clientSettings } from './client-settings.ts';
import { GIT_REASON, gitCommands, gitExports, gitOptions } from './git-settings.ts';

export const CLIENT_CONFIG_FORMATS = ['nixos', 'nix-conf', 'nixos-install', 'shell'] as const;
export type ClientConfigFormat = (typeof CLIENT_CONFIG_FORMATS)[number];

export interface ClientConfigOptions {
  readonly format: ClientConfigFormat;
  /** Where the clients reach the mirror: http, https or file. */
  readonly url: string;
  /** `name:base64`, at least one. */
  readonly publicKeys: readonly string[];
  /** Whether the clients use flakes; default no. */
  readonly flakes?: boolean;
  /** For the repositories of git that the mirror has; default none. */
  readonly gitRewrites?: readonly AddressRewrite[];
}

/**
 * Configuration to paste on a client, each line with its reason, so that it fetches from the mirror alone and never waits for the
 * internet. Throws `usage` for an address and `bad-key` for a key that a client could not use.
 */
export function formatClientConfig(options: ClientConfigOptions): string {
  const url = checkUrl(options.url);
  const publicKeys = checkKeys(options.publicKeys);
  const settings = clientSettings({ url, publicKeys, flakes: options.flakes ?? false });
  const rewrites = options.gitRewrites ?? [];
  switch (options.format) {
    case 'nixos':
      return formatNixos(settings, url, rewrites);
    case 'nix-conf':
      return formatNixConf(settings, url, rewrites);
    case 'nixos-install':
      return formatNixosInstall(settings, url, rewrites);
    case 'shell':
      return formatShell(settings, url, rewrites);
  }
}

function formatNixConf(settings: readonly ClientSetting[], url: string, rewrites: readonly AddressRewrite[]): string {
  return joinBlocks([
    comment(
      'For /etc/nix/nix.conf. Remove lines with the same names from that file, and lines that begin with extra-substituters. Then restart the daemon: systemctl restart nix-daemon',
    ),
    ...settings.map((setting) => nixConfBlock(setting)),
    [
      ...comment(
        'What follows belongs to the daemon: type systemctl edit nix-daemon, and enter the lines that are set in:',
      ),
      '#   [Service]',
      ...builderLines(url, '', (name, value) => `#   Environment="${name}=${value}"`),
    ],
    ...gitBlocks(
      gitCommands(url, rewrites).map((command) => `#   ${command}`),
      'What follows belongs to git: type these commands, once, as root.',
    ),
  ]);
}

function formatShell(settings: readonly ClientSetting[], url: string, rewrites: readonly AddressRewrite[]): string {
  return joinBlocks([
    comment(
      'For one shell, or for a script: paste it. Where Nix works through its daemon, these settings count only for root and for those whom trusted-users in /etc/nix/nix.conf names.',
    ),
    [`export NIX_CONFIG="$(cat <<'END_OF_NIX_CONFIG'`, joinBlocks(settings.map(nixConfBlock)).trimEnd()],
    ['END_OF_NIX_CONFIG', ')"'],
    exports(url),
    ...gitBlocks(gitExports(url, rewrites)),
  ]).replace('\n\nEND_OF_NIX_CONFIG', '\nEND_OF_NIX_CONFIG');
}

function exports(url: string): string[] {
  return builderLines(url, '', (name, value) => `export ${name}='${value}'`);
}

/** None where there is nothing to say. */
function gitBlocks(lines: readonly string[], order?: string): string[][] {
  if (lines.length === 0) return [];
  return [[...comment(order === undefined ? GIT_REASON : `${order} ${GIT_REASON}`), ...lines]];
}

/** Each variable with its reason. */
function builderLines(url: string, indent: string, format: (name: string, value: string) => string): string[] {
  const lines: string[] = [];
  for (const { name, value, why } of builderEnvironment(url)) {
    for (const line of [...comment(why), format(name, value)]) lines.push(`${indent}${line}`);
  }
  return lines;
}

function formatNixosInstall(
  settings: readonly ClientSetting[],
  url: string,
  rewrites: readonly AddressRewrite[],
): string {
  const options = settings.filter(({ name }) => name !== 'experimental-features');
  return joinBlocks([
    comment(
      'Paste this into a root shell of the installer. nixos-install listens to the installer, not to the configuration that it installs; so everything must stand on its command line.',
    ),
    [
      'nixferry_options=(',
      ...options.flatMap((setting) => {
        const option = `--option ${setting.name} ${quoteShell(plainValue(setting))}`;
        return [...settingComment(setting), switchedOff(setting) + option].map((line) => `  ${line}`);
      }),
      ')',
    ],
    exports(url),
    ...gitBlocks(gitExports(url, rewrites)),
    [
      ...comment(
        `With a flake, add --flake FOLDER#NAME (saved as a file: bash FILE --flake FOLDER#NAME). Put the output of nixferry client-config --format nixos --url ${url} into the configuration too, so that the new system goes on with the mirror.`,
      ),
      'nixos-install "${nixferry_options[@]}" "$@"',
    ],
  ]);
}

function formatNixos(settings: readonly ClientSetting[], url: string, rewrites: readonly AddressRewrite[]): string {
  const lines = settings.flatMap((setting) => ['', ...nixosBlock(setting)]).slice(1);
  const gitLines = gitBlocks(gitOptions(url, rewrites)).flatMap((block) => ['', block].flat());
  return joinBlocks([
    comment(
      'Save this as nixferry.nix beside configuration.nix (or flake.nix), and add ./nixferry.nix to the imports there.',
    ),
    [
      '{ lib, ... }:',
      '{',
      '  nix.settings = {',
      ...lines.map((line) => (line === '' ? '' : `    ${line}`)),
      '  };',
      '',
      ...builderLines(url, '  ', (name, value) => `systemd.services.nix-daemon.environment.${name} = "${value}";`),
      ...gitLines.map((line) => (line === '' ? '' : `  ${line}`)),
      '}',
    ],
  ]);
}

function nixosBlock(setting: ClientSetting): string[] {
  const extra =
    setting.replacesOthers === true
      ? comment('mkForce, because NixOS itself adds cache.nixos.org to this list, and only that takes it out.')
      : [];
  const line = `${setting.name} = ${nixValue(setting)};`;
  return [...settingComment(setting), ...extra, switchedOff(setting) + line];
}

function nixValue({ name, value, replacesOthers }: ClientSetting): string {
  // Nix can write the empty list itself, so NixOS need not rely on a file being absent.
  if (name === 'flake-registry' && value === ABSENT_REGISTRY) {
    return `builtins.toFile "flake-registry.json" ''{"version":2,"flakes":[]}''`;
  }
  const force = replacesOthers === true ? 'lib.mkForce ' : '';
  if (typeof value === 'string') return `${force}"${value}"`;
  if (typeof value === 'object') return `${force}[ ${value.map((item) => `"${item}"`).join(' ')} ]`;
  return `${force}${value}`;
}

function nixConfBlock(setting: ClientSetting): string[] {
  return [...settingComment(setting), `${switchedOff(setting)}${setting.name} = ${plainValue(setting)}`];
}

function plainValue({ value }: ClientSetting): string {
  return typeof value === 'object' ? value.join(' ') : String(value);
}

function settingComment({ why, since }: ClientSetting): string[] {
  return comment(since === undefined ? why : `${why} Remove the # below if nix --version says ${since} or newer.`);
}

function switchedOff({ since }: ClientSetting): string {
  return since === undefined ? '' : '#';
}

/** The text as comment lines of at most 100 characters or so. */
function comment(text: string): string[] {
  const lines: string[] = [];
  let line = '#';
  for (const word of text.split(' ')) {
    if (line.length + word.length >= 100) {
      lines.push(line);
      line = '#';
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

function joinBlocks(blocks: readonly (readonly string[])[]): string {
  return `${blocks.map((block) => block.join('\n')).join('\n\n')}\n`;
}

function quoteShell(text: string): string {
  return `'${text}'`;
}

/** Nothing that a shell, Nix or nix.conf would take for more than a letter. */
const PLAIN_URL = /^(?:https?|file):\/\/[A-Za-z0-9._~%:/[\]+,=@-]+$/;
const PLAIN_KEY = /^[A-Za-z0-9][A-Za-z0-9._+@=-]*:[A-Za-z0-9+/]+=*$/;

function checkUrl(text: string): string {
  const url = URL.parse(text);
  const problem = findUrlProblem(text, url);
  if (problem !== undefined || url === null) {
    throw new NixferryError('usage', `${JSON.stringify(text)} cannot be the address of a mirror: ${problem}`, {
      hint: 'write it as clients reach it, such as http://mirror.lan:8080',
    });
  }
  return url.href.replace(/\/+$/, '');
}

function findUrlProblem(text: string, url: URL | null): string | undefined {
  if (url === null) return 'it is no address';
  if (!['http:', 'https:', 'file:'].includes(url.protocol))
    return 'it begins with none of http://, https:// and file://';
  if (url.username !== '' || url.password !== '') return 'names and passwords belong into a netrc file';
  if (url.search !== '' || url.hash !== '') return 'it must not hold ? or #';
  if (url.protocol === 'file:' && url.pathname === '/') return 'it names no folder';
  if (!PLAIN_URL.test(url.href) || /\s/.test(text)) return 'it holds characters that would need quoting';
  return undefined;
}

function checkKeys(keys: readonly string[]): string[] {
  if (keys.length === 0) {
    throw new NixferryError('bad-key', 'a client needs at least one public key', {
      hint: 'nixferry keys show, on the mirror, prints its key',
    });
  }
  return keys.map((text) => checkKey(text));
}

function checkKey(text: string): string {
  try {
    const key = formatPublicKey(parsePublicKey(text.trim()));
    if (PLAIN_KEY.test(key)) return key;
    throw new NixferryError(
      'bad-key',
      `the name of the key ${JSON.stringify(text)} holds characters that need quoting`,
      { hint: 'give the mirror a key with another name: nixferry keys rotate --name NAME' },
    );
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('bad-key', `${JSON.stringify(text)} is not a public key: ${error.message}`, {
      hint: 'a public key is name:base64, as nixferry keys show prints it',
      cause: error,
    });
  }
}
