import { type AddressRewrite, addressRewrites } from '../mirror/repository-address.ts';
import type { RootRecord } from '../mirror/roots.ts';

/** What makes git, and so `builtins.fetchGit`, ask a mirror for repositories: one line each of git's configuration. */
export interface GitSetting {
  /** `url.http://ferry:8080/git/git.example.org/.insteadOf` */
  readonly key: string;
  readonly value: string;
}

export const GIT_REASON =
  'Repositories of git, for git itself and for fetchGit: git asks the mirror wherever one of these addresses is meant. Everything else at the same hosts is not found, at once.';

/** Of the repositories that roots of a mirror have. */
export function rewritesOf(roots: readonly Pick<RootRecord, 'repositories'>[]): AddressRewrite[] {
  return addressRewrites(roots.flatMap(({ repositories = [] }) => repositories.map((one) => one.url)));
}

/** @param url that of the mirror, without a slash at the end. */
export function gitSettings(url: string, rewrites: readonly AddressRewrite[]): GitSetting[] {
  return rewrites.flatMap(({ base, insteadOf }) =>
    insteadOf.map((value) => ({ key: `url.${url}/${base}.insteadOf`, value })),
  );
}

/** As commands to be typed once, by root. */
export function gitCommands(url: string, rewrites: readonly AddressRewrite[]): string[] {
  return gitSettings(url, rewrites).map(({ key, value }) => `git config --system --add ${key} ${value}`);
}

/** For one shell, and what is started in it (git 2.31 and newer). */
export function gitExports(url: string, rewrites: readonly AddressRewrite[]): string[] {
  const settings = gitSettings(url, rewrites);
  if (settings.length === 0) return [];
  return [
    `export GIT_CONFIG_COUNT=${settings.length}`,
    ...settings.flatMap(({ key, value }, index) => [
      `export GIT_CONFIG_KEY_${index}='${key}'`,
      `export GIT_CONFIG_VALUE_${index}='${value}'`,
    ]),
  ];
}

/** For configuration.nix. */
export function gitOptions(url: string, rewrites: readonly AddressRewrite[]): string[] {
  if (rewrites.length === 0) return [];
  return [
    'programs.git.enable = true;',
    'programs.git.config.url = {',
    ...rewrites.map(
      ({ base, insteadOf }) => `  "${url}/${base}".insteadOf = [ ${insteadOf.map((one) => `"${one}"`).join(' ')} ];`,
    ),
    '};',
  ];
}
