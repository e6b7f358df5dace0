import { NixferryError } from '../base/errors.ts';
import { locateConfiguration } from './configuration-target.ts';
import { evaluateValue } from './evaluate-value.ts';
import { type NixSettings, PLAIN_SETTINGS } from './evaluation-request.ts';
import { parseDescription, type ValueDescription } from './nix-value.ts';
import { variantArguments } from './variant-arguments.ts';

/** What Nix is to evaluate: a flake output (`nixpkgs#hello^dev`), or an attribute of a file (`-f FILE -A ATTR`). */
export type Installable =
  | { readonly kind: 'flake'; readonly reference: string; readonly outputs: OutputSelection }
  | { readonly kind: 'file'; readonly file: string; readonly attribute: string; readonly outputs: OutputSelection };

/** `default`: what Nix would install (`meta.outputsToInstall`); `all`: `^*`; else the outputs named. */
export type OutputSelection = 'default' | 'all' | readonly string[];

/** One derivation that a root stands for, instantiated into the local store. */
export interface EvaluatedDerivation {
  readonly drvPath: string;
  readonly outputs: readonly string[];
}

/** Splits the `^out,dev` of Nix's installables off; `^*` wants every output. */
export function parseOutputSelection(text: string): { readonly rest: string; readonly outputs: OutputSelection } {
  const caret = text.lastIndexOf('^');
  if (caret === -1) return { rest: text, outputs: 'default' };
  const selection = text.slice(caret + 1);
  if (selection === '*') return { rest: text.slice(0, caret), outputs: 'all' };
  const outputs = selection.split(',');
  if (!outputs.every((output) => /^[A-Za-z0-9+\-._?=]+$/.test(output))) {
    throw new NixferryError('bad-root', `'${text}': '${selection}' is no list of outputs`, {
      hint: 'write outputs after ^ as in nixpkgs#openssl^bin,dev, or ^* for all',
    });
  }
  return { rest: text.slice(0, caret), outputs };
}

/** What the quick evaluation found out. */
export interface EvaluatedRoot {
  /** A whole NixOS, of which people will want to change options. */
  readonly isNixos: boolean;
  readonly derivations: readonly EvaluatedDerivation[];
}

/**
 * Evaluates an installable with the installed Nix, which writes the `.drv` files to the local store. A NixOS
 * configuration stands for its `system.build.toplevel`; a list or set of derivations for each of them. `evaluateRoot` finds out more.
 * @throws NixferryError `nix-not-found`, `nix-failed`; `bad-root` when it is nothing that can be built.
 */
export async function evaluateInstallable(
  installable: Installable,
  options: {
    readonly workingDirectory: string;
    readonly settings?: NixSettings;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<EvaluatedRoot> {
  const { workingDirectory, settings = PLAIN_SETTINGS, signal } = options;
  const shown = describeInstallable(installable);
  const call = { workingDirectory, signal, purpose: `evaluating ${shown}` };
  const target = await locateConfiguration(installable, settings, call);
  const systems = settings.systems.length === 0 ? [undefined] : settings.systems;
  const found: EvaluatedDerivation[] = [];
  let isNixos = false;
  for (const system of systems) {
    const place = { workingDirectory, system, isNixos: false };
    const args = variantArguments(target, settings, undefined, place);
    const { json } = await evaluateValue(undefined, { ...call, args });
    const description = parseDescription(json);
    isNixos ||= description.isNixos;
    found.push(...selectDerivations(description, installable));
  }
  return { isNixos, derivations: [...new Map(found.map((one) => [one.drvPath, one])).values()] };
}

/**
 * The derivations of a description, with the outputs that the installable asks for.
 * @throws NixferryError `bad-root` when there are none, or an output is not there.
 */
export function selectDerivations(
  { derivations, canChange }: ValueDescription,
  installable: Installable,
): { readonly drvPath: string; readonly outputs: readonly string[] }[] {
  const shown = describeInstallable(installable);
  if (derivations.length === 0) {
    throw new NixferryError('bad-root', `${shown} is no derivation, and no list or set of derivations`, {
      hint: canChange
        ? 'it is a configuration of modules that does not say what to build: name that, as in ATTR.config.system.build.toplevel'
        : 'name something that `nix build` would build',
    });
  }
  return derivations.map(({ drvPath, outputsToInstall, allOutputs }) => ({
    drvPath,
    outputs: select(installable.outputs, outputsToInstall, allOutputs, shown),
  }));
}

/** The installable as its user would write it. */
export function describeInstallable(installable: Installable): string {
  if (installable.kind === 'flake') return installable.reference;
  return installable.attribute === '' ? `-f ${installable.file}` : `-f ${installable.file} -A ${installable.attribute}`;
}

function select(
  wanted: OutputSelection,
  outputsToInstall: readonly string[],
  allOutputs: readonly string[],
  shown: string,
): readonly string[] {
  if (wanted === 'all') return allOutputs;
  if (wanted === 'default') return outputsToInstall;
  const unknown = wanted.find((output) => !allOutputs.includes(output));
  if (unknown !== undefined) {
    throw new NixferryError('bad-root', `${shown} has no output '${unknown}'`, {
      hint: `its outputs are: ${allOutputs.join(', ')}`,
    });
  }
  return wanted;
}
