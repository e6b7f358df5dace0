import { NixferryError } from '../base/errors.ts';
import { createHttpClient } from '../base/http-client.ts';
import { collect, DEFAULT_JOBS } from '../collect/collect.ts';
import { planCollect } from '../collect/plan.ts';
import type { Config } from '../config/config.ts';
import { DEFAULT_UPSTREAM } from '../config/default-trust.ts';
import { chooseNix, DEFAULT_NIX } from '../get-nix/choose-nix.ts';
import { checkSystem, systemOfNix } from '../get-nix/program-system.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { nixRootRequest } from '../mirror/nix-root.ts';
import { type RootRecord, removeRoot } from '../mirror/roots.ts';
import { DEFAULT_STORE_DIR, hashPartOf, type StorePath, storePathFromBaseName } from '../nix/index.ts';
import { closureInMirror } from '../store/mirror-closure.ts';
import { narFromUpstream } from '../upstream/unpacked-nar.ts';
import { openUpstreams } from '../upstream/upstream-set.ts';
import type { CommonOptions } from './common-options.ts';
import { describePlan, describeProblems } from './plan-report.ts';
import type { CommandRun } from './run.ts';
import { httpOptions, readTrustedPublicKeys, type UpstreamOptions } from './upstream-options.ts';

// What get-nix and export share: a Nix for machines that have none, fetched into the mirror like everything else.

export interface NixOptions extends CommonOptions, UpstreamOptions {
  readonly releasesBase?: string;
  readonly channelsBase?: string;
  readonly jobs?: number;
}

/** A Nix in the mirror. */
export interface FetchedNix {
  readonly storePath: StorePath;
  readonly root: RootRecord;
}

/**
 * Fetches a Nix into the mirror, signatures required, and records it as the one for that kind of machine.
 * @param which as `chooseNix` takes it; default that of nixferry.toml, else the usual one
 */
export async function fetchNix(
  mirror: Mirror,
  { which, system }: { readonly which: string | undefined; readonly system: string },
  options: NixOptions,
  config: Config,
  { output, signal }: CommandRun,
): Promise<FetchedNix> {
  checkStoreDir(mirror);
  await using http = createHttpClient(httpOptions(options, config));
  const urls = options.upstream ?? config.upstreams ?? [DEFAULT_UPSTREAM];
  const { storeDir } = mirror;
  const { onProgress } = output;
  await using upstreams = await openUpstreams(urls, { http, storeDir, signal, onProgress });
  const storePath = await chooseNix(which ?? config.nix ?? DEFAULT_NIX, {
    http,
    storeDir,
    system,
    releasesBase: options.releasesBase ?? config.releasesBase,
    channelsBase: options.channelsBase ?? config.channelsBase,
    systemOf: (path) => systemOfNix(path, (part) => narFromUpstream(upstreams, hashPartOf(part), { http, signal })),
    signal,
  });
  const trustedKeys = await readTrustedPublicKeys(options, config, mirror);
  const request = nixRootRequest(system);
  const plan = await planCollect({
    roots: [
      {
        request,
        name: request.replace(':', '-'),
        paths: [storePath],
        fromDerivation: false,
        scope: 'run',
        targets: [],
        evaluationInputs: [],
      },
    ],
    mirror,
    mirrorDirectory: mirror.directory,
    storeDir,
    upstreams,
    // Only what an upstream has signed: this one is going to be run.
    localStores: [],
    trustedKeys,
    onProgress,
    signal,
  });
  output.say(describePlan(plan));
  const jobs = options.jobs ?? config.jobs ?? DEFAULT_JOBS;
  const { problems, roots } = await collect({ plan, mirror, upstreams, http, trustedKeys, jobs, onProgress, signal });
  onProgress({ type: 'phase', phase: '' });
  const [root] = roots;
  if (problems.length > 0 || root === undefined) {
    throw new NixferryError('upstream-incomplete', `${storePath} is not complete: ${describeProblems(problems)}`, {
      hint: 'type the same command again when the upstream has it, or name another Nix',
    });
  }
  await checkMachine(mirror, storePath, system, root);
  return { storePath, root };
}

/** The store path that such a root stands for. */
export function nixPathOf(root: RootRecord, storeDir: string): StorePath {
  const [path] = root.rootPaths;
  if (path === undefined) throw new Error(`the root ${root.id} has no paths`);
  return storePathFromBaseName(path, storeDir);
}

async function checkMachine(mirror: Mirror, storePath: StorePath, system: string, root: RootRecord): Promise<void> {
  const closure = await closureInMirror(mirror, [storePath]);
  const infos = new Map(closure.paths.map((info) => [info.storePath, info]));
  try {
    await checkSystem(storePath, system, async (path) => {
      const info = infos.get(path);
      return info === undefined ? undefined : closure.nar(info);
    });
  } catch (error) {
    // The paths stay, as garbage; but nobody may take it for the Nix of this machine.
    await removeRoot(mirror, root.id);
    throw error;
  }
}

function checkStoreDir({ storeDir, directory }: Mirror): void {
  if (storeDir === DEFAULT_STORE_DIR) return;
  throw new NixferryError(
    'store-dir-mismatch',
    `${directory} holds paths of ${storeDir}; a Nix that was built elsewhere has its own in ${DEFAULT_STORE_DIR}`,
    { hint: `name another mirror with --mirror DIR` },
  );
}
