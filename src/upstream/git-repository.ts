import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import { makeFolders } from '../base/files.ts';
import { HARMLESS_GIT_FLAWS } from '../base/git-flaws.ts';
import { GitFailed, type GitRun, runGit } from '../base/git-program.ts';
import { type GitRef, parseGitRefs } from '../base/git-refs.ts';
import { LIMITS } from '../base/limits.ts';

/** What a repository has, as its host tells it. */
export interface ListedRepository {
  /** The branch that its HEAD stands for, where one can tell. */
  readonly head: string | undefined;
  readonly refs: readonly GitRef[];
}

/** A repository somewhere else. What the user's git is set up with counts: credentials, proxies, other addresses. */
export interface GitRemote {
  readonly url: string;
  /** Nothing that git is set up with counts, and no redirect: what comes is what anybody can have at this very address. Only with `https`. */
  readonly isAnonymous?: boolean | undefined;
  /** File of all authorities that count for https. */
  readonly certificates?: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * Asks for the branches and tags. Throws `upstream-unreachable` with what git said, `upstream-incomplete` for a repository that cannot be carried, `program-missing`.
 */
export async function listRepository(remote: GitRemote): Promise<ListedRepository> {
  const { url, signal } = remote;
  const printed = await askRemote(
    { args: ['ls-remote', '--symref', '--', url], purpose: `asking ${url}`, signal },
    remote,
  );
  const lines = printed.toString('utf8').split('\n');
  const symref = lines.map((line) => /^ref: (\S+)\tHEAD$/.exec(line)?.[1]).find((name) => name !== undefined);
  const headId = lines.map((line) => /^([0-9a-f]{40})\tHEAD$/.exec(line)?.[1]).find((id) => id !== undefined);
  const refs = parseGitRefs(lines.filter((line) => !line.startsWith('ref: ')).join('\n'));
  if (refs === undefined) {
    throw new NixferryError(
      'upstream-incomplete',
      `${url} has more branches and tags than Nixferry carries, or names commits by sha256`,
      {
        hint: 'carry one branch of it: add ?ref=NAME',
      },
    );
  }
  return { head: symref ?? refs.find(({ name, id }) => id === headId && name.startsWith('refs/heads/'))?.name, refs };
}

/** A repository of our own, for what is fetched and packed. */
export interface GitWorkshop {
  /** A folder of its own, which is there and empty. */
  readonly folder: string;
  readonly signal: AbortSignal;
}

/** What is here already, and need not be fetched. */
export interface KnownObjects {
  /** The folder `objects` of a repository. */
  readonly objectsFolder: string;
  readonly refs: readonly GitRef[];
}

/** Makes the workshop. */
export async function openWorkshop({ folder, signal }: GitWorkshop, known: KnownObjects | undefined): Promise<void> {
  await runGit({
    args: ['init', '--quiet', '--bare', '--template=', '--object-format=sha1', folder],
    purpose: `making a repository in ${folder}`,
    environment: { GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null' },
    signal,
  });
  if (known === undefined) return;
  // Objects of another repository count as ours, and refs to them tell the host so.
  await makeFolders(join(folder, 'objects/info'));
  await writeFile(join(folder, 'objects/info/alternates'), `${known.objectsFolder}\n`);
  const ids = [...new Set(known.refs.map(({ id }) => id))];
  const lines = ids.map((id) => `${id} refs/known/${id}\n`).toSorted((a, b) => (a.slice(41) < b.slice(41) ? -1 : 1));
  await writeFile(join(folder, 'packed-refs'), `# pack-refs with: peeled fully-peeled sorted \n${lines.join('')}`);
}

/**
 * Fetches branches and tags, each object checked, and tells what they are by then. Throws as `listRepository` does.
 * @param wanted a branch or tag in full, or all.
 */
export async function fetchRepository(
  { folder, signal }: GitWorkshop,
  remote: Omit<GitRemote, 'signal'>,
  wanted: readonly string[] | 'all',
): Promise<readonly GitRef[]> {
  const { url } = remote;
  const names = wanted === 'all' ? ['refs/heads/*', 'refs/tags/*'] : wanted;
  const checks = ['transfer.fsckObjects=true', ...HARMLESS_GIT_FLAWS.map((flaw) => `fetch.fsck.${flaw}=warn`)];
  await askRemote(
    {
      args: [
        ...checks.flatMap((setting) => ['-c', setting]),
        'fetch',
        '--progress',
        '--no-tags',
        '--no-write-fetch-head',
        '--no-recurse-submodules',
        '--',
        url,
        ...names.map((name) => `+${name}:${name}`),
      ],
      purpose: `fetching ${url}`,
      repository: folder,
      signal,
    },
    remote,
  );
  const args = ['for-each-ref', '--format=%(objectname)%09%(refname)', 'refs/heads', 'refs/tags'];
  const listed = await runGit({ args, purpose: 'listing branches', repository: folder, signal });
  const peeled = await peelTags(folder, signal);
  const refs = parseGitRefs(listed.toString('utf8'));
  if (refs === undefined) throw new Error('git lists refs in another form than asked for');
  return refs.map((ref) => withPeeled(ref, peeled.get(ref.name)));
}

/**
 * Packs all that the refs lead to and `before` does not, and makes the pack's index.
 * @param pack name of a file that does not exist yet; its index comes to lie beside it, as `.idx`.
 */
export async function packObjects(
  { folder, signal }: GitWorkshop,
  refs: readonly GitRef[],
  before: readonly string[],
  pack: string,
): Promise<void> {
  const revisions = [
    ...new Set(refs.map(({ id }) => id)),
    ...(before.length === 0 ? [] : ['--not', ...new Set(before)]),
  ];
  const common = { purpose: 'packing a repository', repository: folder, signal };
  await using file = await open(pack, 'wx');
  // With several threads, the same objects would give another pack each time.
  const args = ['pack-objects', '--quiet', '--revs', '--stdout', '--delta-base-offset', '--threads=1'];
  await runGit({ ...common, args, input: `${revisions.join('\n')}\n`, output: file.fd });
  await file.sync();
  await runGit({ ...common, args: ['index-pack', '-o', `${pack.replace(/\.pack$/, '')}.idx`, pack] });
}

/** Nothing but these is ever spoken; what the user has git rewrite `https` to included. */
const PROTOCOLS: Readonly<Record<string, readonly string[]>> = {
  file: ['file'],
  http: ['http', 'https', 'ssh'],
  git: ['git', 'https', 'ssh'],
  https: ['https', 'ssh'],
  ssh: ['https', 'ssh'],
};

/** No file of the user tells of credentials, nor of other addresses. */
const NOBODYS = {
  HOME: '/nonexistent',
  XDG_CONFIG_HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
};

async function askRemote(
  run: GitRun,
  { url, isAnonymous = false, certificates }: Omit<GitRemote, 'signal'>,
): Promise<Buffer> {
  const scheme = url.slice(0, url.indexOf(':'));
  const settings = [
    'protocol.allow=never',
    ...(isAnonymous ? ['https'] : (PROTOCOLS[scheme] ?? [])).map((protocol) => `protocol.${protocol}.allow=always`),
    'http.lowSpeedLimit=100',
    `http.lowSpeedTime=${LIMITS.gitLowSpeedSeconds}`,
    ...(isAnonymous ? ['http.followRedirects=false', 'credential.helper='] : []),
  ];
  const args = [...settings.flatMap((setting) => ['-c', setting]), ...run.args];
  try {
    const environment = {
      ...(isAnonymous ? NOBODYS : {}),
      ...(certificates === undefined ? {} : { GIT_SSL_CAINFO: certificates }),
    };
    return await runGit({ ...run, args, environment, isAnonymous, silenceMs: LIMITS.gitSilenceMs });
  } catch (error) {
    if (!(error instanceof GitFailed)) throw error;
    throw new NixferryError('upstream-unreachable', error.message, {
      hint: `try it with git itself: git ls-remote ${url}`,
      cause: error,
    });
  }
}

function withPeeled(ref: GitRef, peeled: string | undefined): GitRef {
  return peeled === undefined ? ref : { ...ref, peeled };
}

/** What annotated tags lead to in the end. */
async function peelTags(folder: string, signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
  const args = ['for-each-ref', '--format=%(objecttype) %(refname)', 'refs/tags'];
  const types = await runGit({ args, purpose: 'listing tags', repository: folder, signal });
  if (!/^tag /m.test(types.toString('utf8'))) return new Map();
  const shown = await runGit({
    args: ['show-ref', '--tags', '--dereference'],
    purpose: 'listing tags',
    repository: folder,
    signal,
  });
  const peeled = new Map<string, string>();
  for (const line of shown.toString('utf8').split('\n')) {
    const [, id = '', name = ''] = /^([0-9a-f]{40}) (\S+)\^\{\}$/.exec(line) ?? [];
    if (name !== '') peeled.set(name, id);
  }
  return peeled;
}
