import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { nixString } from './nix-value.ts';

/** A change that may be made to a configuration: what it needs is carried, too. */
export interface Variant {
  /** For people and records; no two variants of a root share it. */
  readonly name: string;
  /** What the user typed: settings (`programs.fish.enable = true;`), or a whole module. */
  readonly module: string;
  /** It comes from nixferry.toml, so it passes over roots that are no configurations. */
  readonly isStanding?: boolean;
}

/**
 * A variant as it is typed after `--variant` or in nixferry.toml. Without a name it is called by its own text.
 * @throws NixferryError `usage` when it is empty or longer than LIMITS.variantBytes.
 */
export function parseVariant(text: string, name = shorten(text)): Variant {
  if (text.trim() === '') {
    throw new NixferryError('usage', 'a variant is empty', {
      hint: "a variant holds settings, as in --variant 'programs.fish.enable = true;'",
    });
  }
  if (Buffer.byteLength(text) > LIMITS.variantBytes) {
    throw new NixferryError('usage', `the variant ${name} is longer than ${LIMITS.variantBytes} bytes`, {
      hint: 'put most of it into a module of the configuration, and let the variant switch it on',
    });
  }
  return { name, module: text };
}

/** Gives later variants of the same name a number, so that targets can be told apart. */
export function uniqueVariants(variants: readonly Variant[]): Variant[] {
  const seen = new Map<string, number>();
  return variants.map((variant) => {
    const count = (seen.get(variant.name) ?? 0) + 1;
    seen.set(variant.name, count);
    return count === 1 ? variant : { ...variant, name: `${variant.name} (${count})` };
  });
}

/** The variant as a Nix expression for a list of modules. Line breaks keep a comment at the end of the text from swallowing ours. */
export function moduleExpression(variant: Variant): string {
  const module = isWholeModule(variant.module)
    ? `(\n${variant.module}\n)`
    : `({ config, lib, pkgs, ... }: {\n${variant.module}\n})`;
  // The module system names this file in its errors.
  return `{ _file = ${nixString(`variant ${variant.name}`)}; imports = [ ${module} ]; }`;
}

/** Settings begin with the name of an option; a module with what begins an expression: a set, a function, a path, `let`, `with`, `import`. */
function isWholeModule(text: string): boolean {
  const code = text.replace(/^(\s+|#[^\n]*\n|\/\*[\s\S]*?\*\/)+/, '');
  return /^([{(<]|\.{0,2}\/|(let|with|rec|import|builtins\.\w+)\s+[^=\s]|[A-Za-z_][\w'-]*\s*[:@])/.test(code);
}

const NAME_CHARACTERS = 100;

function shorten(text: string): string {
  const line = text.trim().replaceAll(/\s+/g, ' ');
  return line.length <= NAME_CHARACTERS ? line : `${line.slice(0, NAME_CHARACTERS - 1)}…`;
}
