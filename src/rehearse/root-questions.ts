import { existsSync } from 'node:fs';
import { NixferryError } from '../base/errors.ts';
import { type ConfigurationTarget, locateConfiguration } from '../evaluate/configuration-target.ts';
import type { NixSettings } from '../evaluate/evaluation-request.ts';
import { type Installable, selectDerivations } from '../evaluate/installable.ts';
import type { Variant } from '../evaluate/variant.ts';
import { variantArguments } from '../evaluate/variant-arguments.ts';
import type { RootRecord } from '../mirror/roots.ts';
import { type StorePath, storePathFromBaseName } from '../nix/index.ts';
import type { BuildOrder, Question, TargetOrder } from './rehearse-target.ts';
import type { RoomNix } from './room-nix.ts';
import { roomSearchPath } from './search-path.ts';

export interface RootRequest {
  readonly record: RootRecord;
  /** What the record's request asks Nix to evaluate; undefined where it asks for nothing to be evaluated, or that cannot be done here. */
  readonly evaluation: { readonly installable: Installable; readonly settings: NixSettings } | undefined;
  /** What the variants of the record are, by name, as far as that is known. */
  readonly variants: ReadonlyMap<string, Variant>;
  /** Changes that were not collected, to be tried as well. */
  readonly more: readonly Variant[];
  readonly storeDir: string;
}

/**
 * What is to be tried of a root: itself, its variants, and changes beyond these, asked of the Nix in the room in the very words that
 * collecting used. Empty for a root that has no derivations.
 */
export async function rootTargets(request: RootRequest, nix: RoomNix): Promise<TargetOrder[]> {
  const { record, variants, more } = request;
  const recorded = recordedOrders(request);
  if (recorded.size === 0) return [];
  const asker = await openAsker(request, nix);
  const orders: TargetOrder[] = [];
  for (const [variant, derivations] of recorded) {
    const change = variant === undefined ? undefined : variants.get(variant);
    const isKnown = variant === undefined || change !== undefined;
    orders.push({ variant, recorded: derivations, question: isKnown ? asker?.(change) : undefined });
  }
  if (more.length > 0 && asker === undefined) {
    throw new NixferryError(
      'usage',
      `the root ${record.name} cannot be evaluated here, so no other variant of it can be tried`,
      {
        hint: 'leave out --variant, or type it where the root was collected',
      },
    );
  }
  for (const change of more) {
    if (!recorded.has(change.name)) orders.push({ variant: change.name, recorded: [], question: asker?.(change) });
  }
  return orders;
}

type Asker = (change: Variant | undefined) => TargetOrder['question'];

/** Undefined where only what was collected can be built. */
async function openAsker({ evaluation, record, storeDir }: RootRequest, nix: RoomNix): Promise<Asker | undefined> {
  if (evaluation === undefined) return undefined;
  const installable = installableInRoom(evaluation.installable, record, storeDir);
  if (installable === undefined) return undefined;
  const { settings, env } = roomSearchPath(evaluation.settings, record, storeDir, nix.outside);
  const place = { workingDirectory: '/' };
  const ask = async (args: readonly string[]): Promise<Buffer> => {
    const { exitCode, stdout } = await nix.run('nix', ['eval', '--json', ...args], env);
    // Where the file cannot be read, asking for the root itself will show why.
    return Buffer.from(exitCode === 0 ? stdout : 'false');
  };
  const target = await locateConfiguration(installable, settings, place, ask);
  return (change) => (isNixos) => question({ target, settings, change, isNixos, env });
}

interface QuestionParts {
  readonly target: ConfigurationTarget;
  readonly settings: NixSettings;
  readonly change: Variant | undefined;
  readonly isNixos: boolean;
  readonly env: Readonly<Record<string, string>>;
}

function question({ target, settings, change, isNixos, env }: QuestionParts): Question {
  const systems = settings.systems.length === 0 ? [undefined] : settings.systems;
  const callFor = (system: string | undefined): string[] => {
    const args = variantArguments(target, settings, change, { workingDirectory: '/', isNixos, system });
    return ['eval', '--json', ...args];
  };
  return {
    calls: systems.map(callFor),
    env,
    select: (description) => selectDerivations(description, target.installable),
  };
}

/** The flake from its source as it was collected, so from the store; a file from where it is. */
function installableInRoom(installable: Installable, record: RootRecord, storeDir: string): Installable | undefined {
  if (installable.kind === 'file') {
    const { file } = installable;
    return file.startsWith('/') && !file.startsWith(`${storeDir}/`) && !existsSync(file) ? undefined : installable;
  }
  const [reference = '', attribute] = installable.reference.split('#', 2);
  const source = flakeSource(reference, record, storeDir);
  if (source === undefined) return undefined;
  const folder = /[?&]dir=([^&]*)/.exec(reference)?.[1];
  const located = `path:${source}${folder === undefined ? '' : `?dir=${folder}`}`;
  return { ...installable, reference: attribute === undefined ? located : `${located}#${attribute}` };
}

/** Where the flake itself was put when it was collected: its input is called by its reference, all others by their names. */
function flakeSource(reference: string, record: RootRecord, storeDir: string): StorePath | undefined {
  const flakes = (record.evaluationInputs ?? []).filter(({ kind }) => kind === 'flake');
  const own = flakes.find(({ name }) => name === reference) ?? flakes.find(({ name }) => /^[/.]|:/.test(name));
  return own === undefined ? undefined : storePathFromBaseName(own.path, storeDir);
}

function recordedOrders({ record, storeDir }: RootRequest): Map<string | undefined, BuildOrder[]> {
  const orders = new Map<string | undefined, BuildOrder[]>();
  for (const { variant, derivation, outputs } of record.targets ?? []) {
    const order = { drvPath: storePathFromBaseName(derivation, storeDir), outputs };
    orders.set(variant, [...(orders.get(variant) ?? []), order]);
  }
  return orders;
}
