import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, CommanderError } from 'commander';
import { parseRootRequests } from '../collect/root-request.ts';
import type { Config } from '../config/config.ts';
import type { NixSettings } from '../evaluate/evaluation-request.ts';
import type { Installable } from '../evaluate/installable.ts';
import { NIXOS_PROBES } from '../evaluate/nixos-probes.ts';
import type { Variant } from '../evaluate/variant.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { RootRecord } from '../mirror/roots.ts';
import type { RehearseOptions, RootOrder } from '../rehearse/rehearse.ts';
import { rootTargets } from '../rehearse/root-questions.ts';
import { searchPathFiles } from '../rehearse/search-path.ts';
import { bindsFor } from '../rehearse/shared-files.ts';
import { joinArgumentPairs } from './argument-pairs.ts';
import { addEvaluatingOptions, type EvaluatingOptions, readEvaluating } from './evaluating.ts';

/** A record's request, understood again. */
interface Understood {
  readonly installable: Installable;
  readonly settings: NixSettings;
}

/** What is to be tried of each root, and which files of this machine the evaluation reads. */
export async function rehearsalOrders(
  records: readonly RootRecord[],
  options: { readonly variant?: readonly string[]; readonly share?: readonly string[] },
  config: Config,
  mirror: Mirror,
): Promise<Pick<RehearseOptions, 'roots' | 'shared'>> {
  const { storeDir } = mirror;
  const more = await readVariants(options.variant ?? [], config);
  const roots: RootOrder[] = [];
  const files: string[] = [];
  for (const record of records) {
    const evaluation =
      record.scope === 'run' || record.targets === undefined ? undefined : await understand(record, config, storeDir);
    const variants = await variantsOf(record, config);
    if (evaluation !== undefined) files.push(...filesOf(evaluation, storeDir));
    roots.push({ record, targets: (nix) => rootTargets({ record, evaluation, variants, more, storeDir }, nix) });
  }
  return { roots, shared: bindsFor([...files, ...(options.share ?? []).map((folder) => resolve(folder))]) };
}

/** The request as it was typed to collect; undefined where it named paths, or cannot be read. */
async function understand({ request }: RootRecord, config: Config, storeDir: string): Promise<Understood | undefined> {
  const words = splitWords(request);
  if (words === undefined) return undefined;
  const command = addEvaluatingOptions(new Command().argument('[root]'))
    .option('-f, --file <file>')
    .option('-A, --attr <attribute>')
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  try {
    command.parse(joinArgumentPairs(words), { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) return undefined;
    throw error;
  }
  const options = command.opts<EvaluatingOptions & { readonly file?: string; readonly attr?: string }>();
  const { settings } = await readEvaluating(options, config);
  const { file, attr = '' } = options;
  if (file !== undefined) return { settings, installable: { kind: 'file', file, attribute: attr, outputs: 'default' } };
  const [root = ''] = command.args;
  const [asked] = await parseRootRequests([root], { workingDirectory: '/', storeDir, named: new Map() });
  return asked?.kind === 'installable' ? { settings, installable: asked.installable } : undefined;
}

/** What `quoteForShell` and a space made of several words, taken apart again; undefined where a quote is not closed. */
export function splitWords(text: string): string[] | undefined {
  const words: string[] = [];
  const word = /\s*((?:[^\s'\\]|\\.|'[^']*')+)/y;
  while (word.lastIndex < text.trimEnd().length) {
    const found = word.exec(text);
    if (found === null) return undefined;
    words.push(
      (found[1] ?? '').replaceAll(
        /'([^']*)'|\\(.)/g,
        (_, quoted?: string, escaped?: string) => quoted ?? escaped ?? '',
      ),
    );
  }
  return words;
}

/** The variants of a record by name: those of nixferry.toml, the built-in ones, and those that are called by their own text. */
async function variantsOf({ targets = [] }: RootRecord, config: Config): Promise<ReadonlyMap<string, Variant>> {
  const names = new Set(targets.flatMap(({ variant }) => variant ?? []));
  const texts = [...names].filter(saysWhatItIs);
  const known = [...(await readVariants(texts, config)), ...NIXOS_PROBES, ...(await standingVariants(config))];
  return new Map(known.filter(({ name }) => names.has(name)).map((variant) => [variant.name, variant]));
}

/** A name that was cut, or that a table of nixferry.toml gave, is no text of Nix. */
function saysWhatItIs(name: string): boolean {
  const isFile = /^(\.{1,2})?\/\S+$/.test(name);
  return isFile ? existsSync(name) : /[={]/.test(name) && !name.endsWith('…');
}

async function readVariants(texts: readonly string[], config: Config): Promise<readonly Variant[]> {
  const { variants } = await readEvaluating({ variant: texts, probes: false }, { ...config, variants: [] });
  return variants;
}

async function standingVariants(config: Config): Promise<readonly Variant[]> {
  const { variants } = await readEvaluating({ probes: false }, config);
  return variants;
}

/** What evaluation reads outside of the store. */
function filesOf({ installable, settings }: Understood, storeDir: string): string[] {
  const own = installable.kind === 'file' && installable.file.startsWith('/') ? [installable.file] : [];
  const configuration = installable.kind === 'file' && own.length === 0 ? ['/etc/nixos/configuration.nix'] : [];
  const read = installable.kind === 'file' || settings.impure ? searchPathFiles(settings, storeDir) : [];
  return [...own, ...configuration, ...read];
}
