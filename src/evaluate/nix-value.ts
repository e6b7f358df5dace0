import { z } from 'zod';

/** What an evaluated value is, as far as Nixferry cares. */
export interface ValueDescription {
  /** It was evaluated from modules, and can be again with more of them. */
  readonly canChange: boolean;
  /** A NixOS configuration. */
  readonly isNixos: boolean;
  readonly derivations: readonly {
    readonly drvPath: string;
    readonly outputsToInstall: readonly string[];
    readonly allOutputs: readonly string[];
  }[];
}

/** How a value is to be described. */
export interface Description {
  /** Attributes to follow from the value on before it is described. */
  readonly path: readonly string[];
  /** Expressions of modules, to be added to the configuration that the value is. */
  readonly modules: readonly string[];
  /** Expressions by name: those that the value has arguments for are passed to it where it is a function. */
  readonly given: Readonly<Record<string, string>>;
}

/**
 * A function for `nix eval --apply` that describes a value: a derivation stands for itself, a configuration for what it is
 * built to (`config.system.build.toplevel`, or home-manager's `activationPackage`), a list or set for the derivations in it. Our own words in, our
 * own words out: the shape of the answer does not change from one Nix to the next. Asking for drvPath makes Nix write the `.drv` file.
 */
export function describeFunction({ path, modules, given }: Description): string {
  // A value of an older or wrapped module system has no extendModules of its own, but the one that modules are given.
  const changed =
    modules.length === 0
      ? 'called'
      : `(own.extendModules or handedDown.extendModules) { modules = [\n${modules.join('\n')}\n]; }`;
  return `
value:
let
  # Nix calls functions on the way to an attribute, but not at its end.
  called = if builtins.isFunction value then value (builtins.intersectAttrs (builtins.functionArgs value) given) else value;
  given = { ${Object.entries(given)
    .map(([name, expression]) => `${nixString(name)} = (\n${expression}\n);`)
    .join(' ')} };
  isDerivation = x: builtins.isAttrs x && (x.type or null) == "derivation";
  describe = d: {
    drvPath = builtins.unsafeDiscardStringContext d.drvPath;
    outputsToInstall = if (d.outputSpecified or false) then [ d.outputName ] else d.meta.outputsToInstall or [ (d.outputName or "out") ];
    allOutputs = d.outputs or [ "out" ];
  };
  gather = x:
    if isDerivation x then [ (describe x) ]
    else if builtins.isAttrs x && x ? config.system.build.toplevel then gather x.config.system.build.toplevel
    else if builtins.isAttrs x && isDerivation (x.config.home.activationPackage or null) then gather x.config.home.activationPackage
    else if builtins.isList x then builtins.concatMap (y: if isDerivation y then gather y else [ ]) x
    else if builtins.isAttrs x then builtins.concatMap (n: if isDerivation x.\${n} then gather x.\${n} else [ ]) (builtins.attrNames x)
    else [ ];
  own = if builtins.isAttrs called then called else { };
  attempt = builtins.tryEval (if own ? options._module.args.value then own.options._module.args.value else { });
  handedDown = if attempt.success && builtins.isAttrs attempt.value then attempt.value else { };
  changed = ${changed};
in
{
  canChange = own ? config && (own ? extendModules || handedDown ? extendModules);
  isNixos = (own.class or "nixos") == "nixos" && own ? config.system.build.toplevel && !(own ? options.system.darwinLabel);
  derivations = gather (builtins.foldl' (x: n: x.\${n}) changed [ ${path.map((name) => nixString(name)).join(' ')} ]);
}
`;
}

/** The answer of `describeFunction`, from `nix eval --json`. */
export function parseDescription(json: Buffer): ValueDescription {
  return descriptionSchema.parse(JSON.parse(json.toString('utf8')));
}

/** A string literal of Nix. */
export function nixString(text: string): string {
  return `"${text
    .replaceAll(/["\\$]/g, '\\$&')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')}"`;
}

const descriptionSchema = z.object({
  canChange: z.boolean(),
  isNixos: z.boolean(),
  derivations: z.array(
    z.object({ drvPath: z.string(), outputsToInstall: z.array(z.string()), allOutputs: z.array(z.string()) }),
  ),
});
