import type { ConfigurationTarget } from './configuration-target.ts';
import { installableArguments, type NixSettings } from './evaluation-request.ts';
import { describeFunction, nixString } from './nix-value.ts';
import { moduleExpression, type Variant } from './variant.ts';

/** What `nix eval --json` is called with to describe a root, changed by `variant` where one is given. */
export function variantArguments(
  target: ConfigurationTarget,
  settings: NixSettings,
  variant: Variant | undefined,
  place: {
    readonly workingDirectory: string;
    readonly system: string | undefined;
    /** Whether the root is known to be a NixOS configuration. */
    readonly isNixos: boolean;
  },
): string[] {
  const { workingDirectory, system, isNixos } = place;
  const around = variant !== undefined && goesAround(target, settings, isNixos);
  const changed = around ? withConfiguration(settings, variant) : settings;
  const modules = variant === undefined || around ? [] : [moduleExpression(variant)];
  const what = installableArguments(target.installable, changed, workingDirectory, system);
  return [...what, '--apply', describeFunction({ path: target.path, modules, given: givenArguments(changed) })];
}

/** Whether variants go in by the argument `configuration`, together with what that is without them: this must be known, then. */
export function goesAround(target: ConfigurationTarget, settings: NixSettings, isNixos: boolean): boolean {
  return target.takesConfiguration && (isNixos || settings.arguments.some(({ name }) => name === 'configuration'));
}

function givenArguments(settings: NixSettings): Record<string, string> {
  return Object.fromEntries(
    settings.arguments.map(({ kind, name, value }) => [name, kind === 'string' ? nixString(value) : value]),
  );
}

function withConfiguration(settings: NixSettings, variant: Variant): NixSettings {
  const given = settings.arguments.find(({ name }) => name === 'configuration');
  const value = `{ imports = [ (\n${given?.value ?? DEFAULT_CONFIGURATION}\n) ${moduleExpression(variant)} ]; }`;
  const others = settings.arguments.filter(({ name }) => name !== 'configuration');
  return { ...settings, arguments: [...others, { kind: 'expression', name: 'configuration', value }] };
}

// As `<nixpkgs/nixos>` finds it.
const DEFAULT_CONFIGURATION =
  'let chosen = builtins.getEnv "NIXOS_CONFIG"; in if chosen == "" then <nixos-config> else chosen';
