import { dirname, resolve } from 'node:path';
import { parse as parseToml, TomlError } from 'smol-toml';
import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';

// src/config knows how nixferry.toml is spelled and where it is looked for; it knows no command.

const text = z.string().min(1).max(4096);
const texts = z.array(text).max(10_000);

const module = z.string().min(1).max(LIMITS.variantBytes);

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
  /** What `serve` does beyond the mirror. */
  serve: z
    .strictObject({
      /** Caches to answer for, too: apart from `upstreams`, so that collecting from them makes no server of the isolated side call out. */
      upstreams: texts.optional(),
      'look-ahead': z.boolean().optional(),
      sign: z.boolean().optional(),
    })
    .optional(),
  /** Folders that have sources which no cache has, relative to the file. */
  'sources-from': texts.optional(),
  /** Servers that know sources by their hashes; an empty list for none. */
  'tarballs-mirrors': texts.optional(),
  /** Changes to evaluate configurations with, each carried too: a list, or a table that names them. */
  variants: z.union([z.array(module).max(1000), z.record(text, module)]).optional(),
  /** False: without the built-in changes to a NixOS. */
  probes: z.boolean().optional(),
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
  readonly serve: ConfiguredServe;
  readonly sourcesFrom: readonly string[];
  readonly tarballsMirrors: readonly string[] | undefined;
  readonly variants: readonly ConfiguredVariant[];
  readonly probes: boolean | undefined;
  readonly roots: ReadonlyMap<string, readonly string[]>;
}

export interface ConfiguredServe {
  readonly upstreams?: readonly string[] | undefined;
  readonly lookAhead?: boolean | undefined;
  readonly sign?: boolean | undefined;
}

export interface ConfiguredVariant {
  /** Undefined where it stands in a list. */
  readonly name: string | undefined;
  /** Settings, a module, or the absolute path of a file with one of these. */
  readonly source: string;
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
  serve: {},
  sourcesFrom: [],
  tarballsMirrors: undefined,
  variants: [],
  probes: undefined,
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
    serve: {
      upstreams: settings.serve?.upstreams,
      lookAhead: settings.serve?.['look-ahead'],
      sign: settings.serve?.sign,
    },
    sourcesFrom: (settings['sources-from'] ?? []).map((folder) => resolve(base, folder)),
    tarballsMirrors: settings['tarballs-mirrors'],
    variants: listVariants(settings.variants ?? [], base),
    probes: settings.probes,
    roots: new Map(
      Object.entries(settings.roots ?? {}).map(([name, roots]) => [name, typeof roots === 'string' ? [roots] : roots]),
    ),
  };
}

/** A file that stands for a variant is named relative to nixferry.toml, like every file in it. */
function listVariants(
  variants: readonly string[] | Readonly<Record<string, string>>,
  base: string,
): ConfiguredVariant[] {
  const place = (source: string) => (/^\.{1,2}\/\S+$/.test(source) ? resolve(base, source) : source);
  if (Array.isArray(variants)) return variants.map((source: string) => ({ name: undefined, source: place(source) }));
  return Object.entries(variants).map(([name, source]) => ({ name, source: place(source) }));
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
