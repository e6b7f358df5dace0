import { isAbsolute, resolve } from 'node:path';
import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import { runNix } from './nix-command.ts';

/** What Nix is to evaluate: a flake output (`nixpkgs#hello^dev`), or an attribute of a file (`-f FILE -A ATTR`). */
export type Installable =
  | { readonly kind: 'flake'; readonly reference: string; readonly outputs: OutputSelection }
  | { readonly kind: 'file'; readonly file: string; readonly attribute: string; readonly outputs: OutputSelection };

/** `default`: what Nix would install (`meta.outputsToInstall`); `all`: `^*`; else the outputs named. */
export type OutputSelection = 'default' | 'all' | readonly string[];

/** One derivation that a root stands for, instantiated into the local store. */
export interface EvaluatedDerivation {
  readonly drvPath: string;
  readonly outputs: 'all' | readonly string[];
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

/**
 * Evaluates an installable with the installed Nix, which writes the `.drv` files to the local store. A NixOS
 * configuration stands for its `system.build.toplevel`; a list or set of derivations for each of them.
 * @throws NixferryError `nix-not-found`, `nix-failed`; `bad-root` when it is nothing that can be built.
 */
export async function evaluateInstallable(
  installable: Installable,
  options: { readonly workingDirectory: string; readonly signal?: AbortSignal | undefined },
): Promise<EvaluatedDerivation[]> {
  const shown = describeInstallable(installable);
  const target = installable.kind === 'flake' ? [installable.reference] : fileArguments(installable, options);
  const features = ['--extra-experimental-features', 'nix-command flakes'];
  const args = [...features, 'eval', '--json', ...target, '--apply', DESCRIBE];
  const printed = await runNix('nix', args, {
    purpose: `evaluating ${shown}`,
    workingDirectory: options.workingDirectory,
    signal: options.signal,
  });
  const derivations = descriptionSchema.parse(JSON.parse(printed.toString('utf8')));
  if (derivations.length === 0) {
    throw new NixferryError('bad-root', `${shown} is no derivation, and no list or set of derivations`, {
      hint: 'name something that `nix build` would build',
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

// Our own words in, our own words out: the shape of this answer does not change from one Nix to the next.
// Asking for drvPath is what makes Nix write the .drv file.
const DESCRIBE = `
value:
let
  isDerivation = x: builtins.isAttrs x && (x.type or null) == "derivation";
  describe = d: {
    drvPath = builtins.unsafeDiscardStringContext d.drvPath;
    outputsToInstall = if (d.outputSpecified or false) then [ d.outputName ] else d.meta.outputsToInstall or [ (d.outputName or "out") ];
    allOutputs = d.outputs or [ "out" ];
  };
  gather = x:
    if isDerivation x then [ (describe x) ]
    else if builtins.isAttrs x && x ? config.system.build.toplevel then gather x.config.system.build.toplevel
    else if builtins.isList x then builtins.concatMap (y: if isDerivation y then gather y else [ ]) x
    else if builtins.isAttrs x then builtins.concatMap (n: if isDerivation x.\${n} then gather x.\${n} else [ ]) (builtins.attrNames x)
    else [ ];
in
gather value
`;

const descriptionSchema = z.array(
  z.object({ drvPath: z.string(), outputsToInstall: z.array(z.string()), allOutputs: z.array(z.string()) }),
);

function fileArguments(
  installable: Extract<Installable, { kind: 'file' }>,
  options: { readonly workingDirectory: string },
): string[] {
  const { file } = installable;
  // <nixpkgs> and URLs are for Nix to resolve.
  const isPath = !file.startsWith('<') && !file.includes('://');
  const resolved = isPath && !isAbsolute(file) ? resolve(options.workingDirectory, file) : file;
  return ['--file', resolved, installable.attribute];
}

function select(
  wanted: OutputSelection,
  outputsToInstall: readonly string[],
  allOutputs: readonly string[],
  shown: string,
): 'all' | readonly string[] {
  if (wanted === 'all') return 'all';
  if (wanted === 'default') return outputsToInstall;
  const unknown = wanted.find((output) => !allOutputs.includes(output));
  if (unknown !== undefined) {
    throw new NixferryError('bad-root', `${shown} has no output '${unknown}'`, {
      hint: `its outputs are: ${allOutputs.join(', ')}`,
    });
  }
  return wanted;
}
