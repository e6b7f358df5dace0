import { dirname, resolve } from 'node:path';
import { parse as parseToml, TomlError } from 'smol-toml';
import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';

// src/config knows how nixferry.toml is spelled and where it is looked for; it knows no command.

const text = z.string().min(1).max(4096);
const texts = z.array(text).max(10_000);

const schema = z.strictObject({
  /** The mirror's folder, relative to the file. */
  mirror: text.optional(),
  /** Binary caches to copy from, asked in this order. */
  upstreams: texts.optional(),
  /** Keys whose signatures count on collecting, `name:base64`. */
  'trusted-public-keys': texts.optional(),
  /** Where `channel:NAME` is looked for. */
  'channels-base': text.optional(),
  /** Which Nix `get-nix` brings, and where releases of Nix are looked for. */
  nix: text.optional(),
  'releases-base': text.optional(),
  /** The site that `pack` and `export` work for unless told otherwise. */
  site: text.optional(),
  netrc: text.optional(),
  'ca-file': text.optional(),
  jobs: z.int().min(1).max(1024).optional(),
  /** Lists of roots under one name: `nixferry collect web` collects `roots.web`. */
  roots: z.record(text, z.union([text, texts])).optional(),
});

export interface Config {
  /** The file this came from; undefined when there is none. */
  readonly file: string | undefined;
  readonly mirror: string | undefined;
  readonly upstreams: readonly string[] | undefined;
  readonly trustedPublicKeys: readonly string[] | undefined;
  readonly channelsBase: string | undefined;
  readonly nix: string | undefined;
  readonly releasesBase: string | undefined;
  readonly site: string | undefined;
  readonly netrcFile: string | undefined;
  readonly caFile: string | undefined;
  readonly jobs: number | undefined;
  readonly roots: ReadonlyMap<string, readonly string[]>;
}

const EMPTY: Config = {
  file: undefined,
  mirror: undefined,
  upstreams: undefined,
  trustedPublicKeys: undefined,
  channelsBase: undefined,
  nix: undefined,
  releasesBase: undefined,
  site: undefined,
  netrcFile: undefined,
  caFile: undefined,
  jobs: undefined,
  roots: new Map(),
};

/**
 * Reads nixferry.toml. Without `file`, `./nixferry.toml` is read if it is there.
 * @throws NixferryError `usage` when a named file is missing, is no TOML or says something unknown.
 */
export async function loadConfig(file: string | undefined, workingDirectory: string): Promise<Config> {
  const path = resolve(workingDirectory, file ?? 'nixferry.toml');
  const bytes = await readFileIfExists(path, LIMITS.configBytes);
  if (bytes === undefined) {
    if (file === undefined) return EMPTY;
    throw new NixferryError('usage', `there is no configuration file ${path}`, {
      hint: 'give the right path with --config, or leave it out to go without one',
    });
  }
  return parseConfig(bytes.toString('utf8'), path);
}

/** Checks the text of a nixferry.toml; relative paths in it are relative to `path`'s folder. */
export function parseConfig(source: string, path: string): Config {
  const checked = schema.safeParse(parseTomlText(source, path));
  if (!checked.success) {
    const issue = checked.error.issues[0];
    throw new NixferryError(
      'usage',
      `${[path, ...(issue?.path ?? [])].join(': ')}: ${issue?.message ?? 'not understood'}`,
      {
        hint: `the settings are: ${Object.keys(schema.shape).join(', ')}`,
      },
    );
  }
  const settings = checked.data;
  const base = dirname(path);
  const file = (value: string | undefined) => (value === undefined ? undefined : resolve(base, value));
  return {
    file: path,
    mirror: file(settings.mirror),
    upstreams: settings.upstreams,
    trustedPublicKeys: settings['trusted-public-keys'],
    channelsBase: settings['channels-base'],
    nix: settings.nix,
    releasesBase: settings['releases-base'],
    site: settings.site,
    netrcFile: file(settings.netrc),
    caFile: file(settings['ca-file']),
    jobs: settings.jobs,
    roots: new Map(
      Object.entries(settings.roots ?? {}).map(([name, roots]) => [name, typeof roots === 'string' ? [roots] : roots]),
    ),
  };
}

function parseTomlText(source: string, path: string): unknown {
  try {
    return parseToml(source);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new NixferryError('usage', `${path}:${error.line}:${error.column}: ${error.message.split('\n')[0] ?? ''}`, {
      hint: 'docs/reference/configuration.md shows a complete nixferry.toml',
      cause: error,
    });
  }
}
