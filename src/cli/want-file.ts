import { hash } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { formatCount } from '../base/amounts.ts';
import { NixferryError } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { ResolvedRoot } from '../collect/resolve-roots.ts';
import { type ResolvedWant, resolveWant } from '../collect/resolve-want.ts';
import { chooseWantedRepositories } from '../collect/wanted-repositories.ts';
import { type Mirror, openMirror } from '../mirror/mirror.ts';
import type { Miss } from '../mirror/misses.ts';
import { readRoots } from '../mirror/roots.ts';
import { baseNameOf, formatPublicKey, type PublicKey, parseDerivation } from '../nix/index.ts';
import { fingerprintWords } from '../shipment/fingerprint-words.ts';
import { readKnownSite } from '../shipment/known-sites.ts';
import { parseWantList, type WantList } from '../shipment/want-list.ts';
import { listRepository } from '../upstream/git-repository.ts';
import type { Collecting, PlanPlace } from './collecting.ts';
import type { CommandRun } from './run.ts';

/** A want list that may be believed, and its derivations as files. */
export interface OpenedWant extends AsyncDisposable {
  /** For `--derivations`. */
  readonly folder: string;
  /** Says what cannot be had, and gives what can as a root. */
  resolve(collecting: Collecting, place: PlanPlace, certificates: string | undefined): Promise<ResolvedRoot[]>;
}

/** Reads a want list and checks who signed it. Throws `usage`, `damage`, `not-trusted`. */
export async function openWant(
  file: string,
  mirrorDirectory: string,
  trust: readonly PublicKey[],
  run: CommandRun,
): Promise<OpenedWant> {
  const bytes = await readFileIfExists(resolve(file), LIMITS.wantBytes);
  if (bytes === undefined) {
    throw new NixferryError('usage', `there is no want list ${file}`, {
      hint: 'give the file that nixferry want wrote on the isolated side',
    });
  }
  const list = await parseWantList(bytes, file);
  await authenticate(list, mirrorDirectory, trust);
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-want-'));
  for (const { path, bytes: text } of list.derivations) await writeFile(join(folder, path), text);
  const digest = hash('sha256', bytes).slice(0, 12);
  return {
    folder,
    resolve: (collecting, place, certificates) => resolveList(list, { digest, collecting, place, certificates, run }),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

interface ResolvingList {
  readonly digest: string;
  readonly collecting: Collecting;
  readonly place: PlanPlace;
  readonly certificates: string | undefined;
  readonly run: CommandRun;
}

async function resolveList(
  { header, derivations, where }: WantList,
  { digest, collecting, place, certificates, run: { output, signal } }: ResolvingList,
): Promise<ResolvedRoot[]> {
  const { storeDir, upstreams, plan } = collecting;
  if (header.storeDir !== storeDir) {
    throw new NixferryError(
      'store-dir-mismatch',
      `${where} speaks of ${header.storeDir}, the upstream of ${storeDir}`,
      {
        hint: 'name an upstream of the same store folder with --upstream',
      },
    );
  }
  const { site, misses, targets } = header;
  const files = new Map(derivations.map(({ path, bytes }) => [path, bytes]));
  const resolved = await resolveWant(
    { site, digest, misses, targets, derivations: [...files.keys()] },
    {
      storeDir,
      upstreams,
      outputNames: async (drvPath) => {
        const bytes = files.get(baseNameOf(drvPath));
        return bytes === undefined ? [] : [...parseDerivation(bytes, storeDir).outputs.keys()];
      },
      plan: (roots) => plan(place, roots),
      chooseRepositories: async (all) =>
        chooseWantedRepositories(all, {
          known: await knownRepositories(place.mirror),
          lookUp: lookUpHost,
          probe: async ({ url, isAnonymous }) =>
            void (await listRepository({ url, isAnonymous, certificates, signal })),
          signal,
        }),
      onProgress: output.onProgress,
      signal,
    },
  );
  output.onProgress({ type: 'phase', phase: '' });
  tell(resolved, { output });
  return [...(resolved.root === undefined ? [] : [resolved.root]), ...resolved.repositories];
}

async function knownRepositories(mirror: Mirror | undefined): Promise<ReadonlyMap<string, string>> {
  const roots = mirror === undefined ? [] : await readRoots(mirror);
  const repositories = roots.flatMap(({ repositories: ofRoot = [] }) => ofRoot);
  return new Map(repositories.map(({ place, url }) => [place, url]));
}

async function lookUpHost(host: string): Promise<readonly string[]> {
  const found = await lookup(host, { all: true }).catch(() => []);
  return found.map(({ address }) => address);
}

function tell(
  { root, repositories, unknown, toName, missing }: ResolvedWant,
  { output }: Pick<CommandRun, 'output'>,
): void {
  const names = repositories.map(({ name }) => name);
  output.event('want', { paths: root?.paths.length ?? 0, repositories: names, unknown, toName, missing });
  output.say(`wanted: ${formatCount(root?.paths.length ?? 0, 'path')} can be had`);
  for (const name of names) output.say(`  the repository ${name} is fetched`);
  if (unknown.length > 0) {
    output.say(
      `  ${formatCount(unknown.length, 'path')} no upstream has: as a rule what clients build themselves, and asked for first`,
    );
  }
  for (const { storePath, detail } of missing) output.say(`  ${storePath} is left out: ${detail}`);
  for (const miss of toName) output.say(`  ${describeMiss(miss)}`);
}

function describeMiss({ kind, name, count }: Miss): string {
  const asked = `asked for ${count === 1 ? 'once' : `${count} times`}`;
  switch (kind) {
    case 'channel':
      return `the channel ${name} (${asked}): to carry it, name channel:${name} as a root`;
    case 'flake':
      return `the flake ${name} (${asked}): carry something that has it as an input, at --scope reconfigure`;
    case 'repository':
      return `the repository ${name} (${asked}): it is not what anybody can have from a public host; to carry it all the same, name git+https://${name} as a root`;
    default:
      return `a source with the hash ${name} (${asked}): name the derivation that wants it there, with nixferry want --drv`;
  }
}

/** As with a receipt: the key of the site must be known from one, or be named. */
async function authenticate(
  { header, key, hasSigned, where }: WantList,
  mirrorDirectory: string,
  trust: readonly PublicKey[],
): Promise<void> {
  if (!hasSigned) {
    throw new NixferryError('not-trusted', `the signature of ${where} does not hold`, {
      hint: 'the want list was changed or damaged: fetch it from the site again',
    });
  }
  const text = formatPublicKey(key);
  if (trust.some(({ name, bytes }) => name === key.name && bytes.equals(key.bytes))) return;
  const known = await knownKey(mirrorDirectory, header.site);
  if (known === text) return;
  const words = `${text}, in words: ${fingerprintWords(key).join(' ')}`;
  const message =
    known === undefined
      ? `${where} is the first word of the site ${header.site}: ${words}`
      : `${where} is signed by another key than that of the site ${header.site} (${known}): ${words}`;
  throw new NixferryError('not-trusted', message, {
    hint: `compare the words with the site, by telephone or on paper; if they agree, add: --trust '${text}'`,
  });
}

async function knownKey(mirrorDirectory: string, site: string): Promise<string | undefined> {
  try {
    await using mirror = await openMirror(mirrorDirectory, { access: 'read' });
    return (await readKnownSite(mirror, site))?.key;
  } catch (error) {
    if (error instanceof NixferryError && error.code === 'not-a-mirror') return undefined;
    throw error;
  }
}
