import type { EvaluateCall } from './evaluate-value.ts';
import { evaluateValue } from './evaluate-value.ts';
import { fileExpression, type NixSettings } from './evaluation-request.ts';
import type { Installable } from './installable.ts';

/** A thing to evaluate, split into the configuration that variants may change and what is built from that. */
export interface ConfigurationTarget {
  readonly installable: Installable;
  /** Attributes from there on, to what was asked for; empty for what a configuration is built to by itself. */
  readonly path: readonly string[];
  /** The file is a function of a `configuration` like `<nixpkgs/nixos>`: variants go in by that argument. */
  readonly takesConfiguration: boolean;
}

type Caller = Pick<EvaluateCall, 'workingDirectory' | 'signal'>;

/** Has Nix evaluate, with the arguments of `nix eval --json`, and gives the JSON. */
export type Ask = (args: readonly string[], purpose: string) => Promise<Buffer>;

/**
 * Finds the configuration in an installable: `nixosConfigurations.web` in `.#nixosConfigurations.web.config.system.build.vm`, the whole of
 * `<nixpkgs/nixos>` where `-A system` of it is asked for.
 * @param ask the Nix that is asked; the one that evaluates for `caller` unless given
 */
export async function locateConfiguration(
  installable: Installable,
  settings: NixSettings,
  caller: Caller,
  ask: Ask = async (args, purpose) => (await evaluateValue(undefined, { ...caller, args, purpose })).json,
): Promise<ConfigurationTarget> {
  if (installable.kind === 'flake') {
    const hash = installable.reference.indexOf('#') + 1;
    const { base, path } = splitAttribute(installable.reference.slice(hash), hash === 0 ? [] : FLAKE_OUTPUTS);
    const reference = hash === 0 ? installable.reference : installable.reference.slice(0, hash) + base;
    return { installable: { ...installable, reference }, path: hash === 0 ? [] : path, takesConfiguration: false };
  }
  if (await takesConfiguration(installable.file, settings, caller.workingDirectory, ask)) {
    const path = parseAttributePath(installable.attribute).map(({ name }) => name);
    return { installable: { ...installable, attribute: '' }, path, takesConfiguration: true };
  }
  const { base, path } = splitAttribute(installable.attribute, []);
  return { installable: { ...installable, attribute: base }, path, takesConfiguration: false };
}

/** The parts of an attribute path and where each begins; quotes keep dots together, as in Nix. */
export function parseAttributePath(text: string): { readonly name: string; readonly start: number }[] {
  const parts: { name: string; start: number }[] = [];
  let name = '';
  let start = 0;
  let quoted = false;
  for (const [position, character] of [...text].entries()) {
    if (character === '"') quoted = !quoted;
    else if (character === '.' && !quoted) {
      parts.push({ name, start });
      name = '';
      start = position + 1;
    } else name += character;
  }
  return text === '' ? [] : [...parts, { name, start }];
}

// What the outputs of a flake hold configurations, and the shorthands that these have for what is built of them.
const FLAKE_OUTPUTS = ['nixosConfigurations', 'darwinConfigurations', 'homeConfigurations'];
const SHORTHANDS: ReadonlySet<string> = new Set(['system', 'activationPackage']);

function splitAttribute(text: string, outputs: readonly string[]): { base: string; path: string[] } {
  const parts = parseAttributePath(text);
  const config = parts.findIndex(({ name }, index) => name === 'config' && index > 0);
  if (config !== -1) return splitAt(text, parts, config);
  const [output, , shorthand, ...more] = parts.map(({ name }) => name);
  const isShort = more.length === 0 && shorthand !== undefined && SHORTHANDS.has(shorthand);
  if (isShort && output !== undefined && outputs.includes(output)) return { ...splitAt(text, parts, 2), path: [] };
  return { base: text, path: [] };
}

function splitAt(
  text: string,
  parts: ReturnType<typeof parseAttributePath>,
  index: number,
): { base: string; path: string[] } {
  const end = Math.max(0, (parts[index]?.start ?? 0) - 1);
  return { base: [...text].slice(0, end).join(''), path: parts.slice(index).map(({ name }) => name) };
}

async function takesConfiguration(
  file: string,
  settings: NixSettings,
  workingDirectory: string,
  ask: Ask,
): Promise<boolean> {
  const expression = fileExpression(file, workingDirectory);
  if (expression === undefined) return false;
  const asked = `let f = ${expression}; in builtins.isFunction f && builtins.functionArgs f ? configuration`;
  const searchPath = settings.searchPath.flatMap((entry) => ['-I', entry]);
  const args = [...searchPath, '--impure', '--expr', asked];
  const json = await ask(args, `reading ${file}`);
  return JSON.parse(json.toString('utf8')) === true;
}
