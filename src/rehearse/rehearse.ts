import { availableParallelism } from 'node:os';
import { formatBytes } from '../base/amounts.ts';
import { NixferryError } from '../base/errors.ts';
import { freeBytes } from '../base/files.ts';
import type { OnProgress } from '../base/progress.ts';
import { runNix } from '../evaluate/nix-command.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { addressRewrites } from '../mirror/repository-address.ts';
import type { RootRecord } from '../mirror/roots.ts';
import { hashPartOf, type StorePath, type StorePathBaseName, storePathFromBaseName } from '../nix/index.ts';
import { makeCacheView, ROOM_CACHE, ROOM_MIRROR } from './cache-view.ts';
import { findRoomPrograms } from './nix-programs.ts';
import { type RootOutcome, type TargetOutcome, type Verdict, worstVerdict } from './outcome.ts';
import { rehearsePaths, rehearseTarget, type TargetInputs, type TargetOrder } from './rehearse-target.ts';
import { isRoot, openRoom, type Room } from './room.ts';
import { makeRoomFolder, removeAbandonedRooms } from './room-folder.ts';
import { type RoomNix, roomNix } from './room-nix.ts';
import type { RoomBind } from './room-script.ts';
import { type HostSettings, parseHostSettings, roomFiles } from './room-settings.ts';
import { canSandbox } from './sandbox.ts';

/** A root that is to be rehearsed. */
export interface RootOrder {
  readonly record: RootRecord;
  /** Asked for when its evaluation inputs are in the room. None for a root without derivations: its paths are fetched. */
  targets(nix: RoomNix): Promise<readonly TargetOrder[]>;
}

export interface RehearseOptions {
  readonly mirror: Mirror;
  readonly roots: readonly RootOrder[];
  /** Another Nix than the one on the PATH: a program, or the folder that `get-nix` made. */
  readonly nix?: string | undefined;
  /** Where the store of the rehearsal is made, for as long as it lasts. */
  readonly workDirectory: string;
  /** Undefined: as the Nix of this machine is set. */
  readonly sandbox?: boolean | undefined;
  /** Builds at once. */
  readonly jobs?: number | undefined;
  /** Lines for nix.conf. */
  readonly settings?: readonly string[] | undefined;
  /** Files and folders of this machine that evaluation reads. */
  readonly shared: readonly RoomBind[];
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

export interface Rehearsed {
  readonly verdict: Verdict;
  readonly roots: readonly RootOutcome[];
  /** `nix (Nix) 2.8.0` */
  readonly nixVersion: string;
  readonly isSandboxed: boolean;
}

/**
 * Tries roots out as the isolated side would: real Nix without a network, with an empty store, and with the paths of these roots in the mirror as its only substituter.
 * Nothing stays but what is returned. Throws `namespace-refused`, `no-space`, `nix-not-found`, `program-missing`; that something is missing is a verdict.
 */
export async function rehearse(options: RehearseOptions): Promise<Rehearsed> {
  const { mirror, roots, workDirectory, signal, onProgress } = options;
  onProgress({ type: 'phase', phase: 'prepare the rehearsal' });
  await removeAbandonedRooms(workDirectory);
  const paths = new Set(roots.flatMap(({ record }) => record.paths));
  const repositories = roots.flatMap(({ record }) => record.repositories ?? []);
  await checkSpace(mirror, paths, workDirectory);
  const host = await readHostSettings(mirror.storeDir, signal);
  const programs = await findRoomPrograms(options.nix, mirror.storeDir, signal);
  const open = async (folder: string, sandbox: boolean): Promise<Room> => {
    const files = roomFiles({
      publicKey: mirror.publicKey,
      sandbox,
      isRoot: isRoot(),
      host,
      jobs: options.jobs ?? availableParallelism(),
      gitRewrites: addressRewrites(repositories.map(({ url }) => url)),
      more: options.settings ?? [],
    });
    const binds = [...mirrorBinds(mirror), ...options.shared];
    return openRoom({ folder, storeDir: mirror.storeDir, programs, binds, files, signal });
  };
  const isSandboxed = (options.sandbox ?? host.sandbox) && (await trySandbox(options, open));
  await using folder = await makeRoomFolder(workDirectory);
  await using room = await open(folder.path, isSandboxed);
  await makeCacheView(room.outside(ROOM_CACHE), mirror.directory, paths, signal, repositories);
  const nix = roomNix(room, signal, onProgress);
  const inputs: TargetInputs = { nix, mirror, offered: new Set([...paths].map(hashPartOf)), signal };
  const { stdout: nixVersion } = await nix.run('nix', ['--version']);
  const outcomes: RootOutcome[] = [];
  for (const root of roots) outcomes.push(await rehearseRoot(root, inputs, onProgress));
  return {
    verdict: worstVerdict(outcomes.map(({ verdict }) => verdict)),
    roots: outcomes,
    nixVersion: nixVersion.trim(),
    isSandboxed,
  };
}

async function rehearseRoot(root: RootOrder, inputs: TargetInputs, onProgress: OnProgress): Promise<RootOutcome> {
  const { record } = root;
  const inFull = (path: StorePathBaseName): StorePath => storePathFromBaseName(path, inputs.mirror.storeDir);
  const outcomes: TargetOutcome[] = [];
  const begin = (what: string) => onProgress({ type: 'phase', phase: `rehearse ${record.name}: ${what}` });
  const needed = [...new Set((record.evaluationInputs ?? []).map(({ path }) => inFull(path)))];
  if (needed.length > 0) {
    begin('evaluation inputs');
    const outcome = await rehearsePaths(needed, EVALUATION_INPUTS, inputs);
    outcomes.push(outcome);
  }
  const targets = await root.targets(inputs.nix);
  if (targets.length === 0) {
    begin('fetch');
    outcomes.push(await rehearsePaths(record.rootPaths.map(inFull), undefined, inputs));
  }
  let isNixos = false;
  for (const target of targets) {
    begin(target.variant ?? 'build');
    const outcome = await rehearseTarget(target, isNixos, inputs);
    outcomes.push(outcome);
    isNixos ||= outcome.isNixos === true;
  }
  const verdict = worstVerdict(outcomes.map((outcome) => outcome.verdict));
  return { id: record.id, name: record.name, verdict, targets: outcomes };
}

/** Where an outcome names a variant: what had to be there before anything could be evaluated. */
export const EVALUATION_INPUTS = 'evaluation inputs';

/** The mirror, read-only, and nothing of what is private to it: the key that signs is in there. */
function mirrorBinds(mirror: Mirror): RoomBind[] {
  return [
    { from: mirror.directory, at: ROOM_MIRROR, isFolder: true },
    { from: undefined, at: `${ROOM_MIRROR}/.nixferry`, isFolder: true },
  ];
}

async function trySandbox(
  { workDirectory, sandbox, onProgress, signal }: RehearseOptions,
  open: (folder: string, sandbox: boolean) => Promise<Room>,
): Promise<boolean> {
  await using folder = await makeRoomFolder(workDirectory);
  await using room = await open(folder.path, true);
  const problem = await canSandbox(roomNix(room, signal));
  if (problem === undefined) return true;
  if (sandbox === true) {
    throw new NixferryError('nix-failed', `Nix can have no sandbox here: ${problem}`, {
      hint: 'leave out --sandbox: builds then see the programs of this machine beside what they are given',
    });
  }
  onProgress({ type: 'notice', message: `Nix can have no sandbox here, and builds without: ${problem}` });
  return false;
}

/** What the Nix of this machine is set to; nothing where there is none. */
async function readHostSettings(storeDir: string, signal: AbortSignal): Promise<HostSettings> {
  const features = ['--extra-experimental-features', 'nix-command'];
  for (const command of [['config', 'show'], ['show-config']]) {
    try {
      const printed = await runNix('nix', [...features, ...command], { purpose: 'reading its settings', signal });
      return parseHostSettings(printed.toString('utf8'), storeDir);
    } catch (error) {
      // The first is how Nix spells it from 2.20 on; and where only a chosen Nix is there, its defaults will do.
      if (!(error instanceof NixferryError)) throw error;
    }
  }
  return parseHostSettings('', storeDir);
}

const SPARE_BYTES = 512 * 1024 * 1024;

async function checkSpace(mirror: Mirror, paths: ReadonlySet<StorePathBaseName>, folder: string): Promise<void> {
  let neededBytes = SPARE_BYTES;
  for (const path of paths) neededBytes += (await mirror.index.get(hashPartOf(path)))?.narSizeBytes ?? 0;
  const available = await freeBytes(folder);
  if (neededBytes <= available) return;
  throw new NixferryError(
    'no-space',
    `a rehearsal of these roots needs ${formatBytes(neededBytes)} in ${folder}; ${formatBytes(available)} are free there`,
    { hint: 'name a folder on a larger disk with --work-dir, or fewer roots' },
  );
}
