import type { Derivation } from './derivation.ts';
import { NixFormatError } from './format-error.ts';

export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

/**
 * What the derivation was called with: its environment, and over it the structured attributes (`__structuredAttrs`), which the
 * environment carries as JSON. The `__json` itself is left out.
 * @throws NixFormatError when that JSON is broken.
 */
export function derivationAttributes(derivation: Derivation): ReadonlyMap<string, JsonValue> {
  const known = attributesOf.get(derivation);
  if (known !== undefined) return known;
  const attributes = new Map<string, JsonValue>(derivation.env);
  attributes.delete(STRUCTURED);
  for (const [name, value] of structuredAttributes(derivation) ?? []) attributes.set(name, value);
  attributesOf.set(derivation, attributes);
  return attributes;
}

/** The structured attributes alone; undefined for a derivation without them. @throws NixFormatError when they are broken. */
export function structuredAttributes(derivation: Derivation): ReadonlyMap<string, JsonValue> | undefined {
  const text = derivation.env.get(STRUCTURED);
  if (text === undefined) return undefined;
  const value = parseJson(text);
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw attributeProblem(STRUCTURED, 'an object');
  return new Map(Object.entries(value));
}

/** @throws NixFormatError when the attribute is there and no text. */
export function stringAttribute(derivation: Derivation, name: string): string | undefined {
  const value = derivationAttributes(derivation).get(name);
  if (value === undefined || typeof value === 'string') return value;
  throw attributeProblem(name, 'a text');
}

/**
 * In the environment only `1` is true, in structured attributes only `true`. (Nix: `getBoolAttr`)
 * @throws NixFormatError when a structured attribute is there and not true or false.
 */
export function booleanAttribute(derivation: Derivation, name: string, fallback: boolean): boolean {
  const value = derivationAttributes(derivation).get(name);
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  if (typeof value === 'string' && !derivation.env.has(STRUCTURED)) return value === '1';
  throw attributeProblem(name, 'true or false');
}

/**
 * A list of texts; in the environment they are parted by white space. (Nix: `getStringsAttr`)
 * @throws NixFormatError when a structured attribute is there and no list of texts.
 */
export function stringsAttribute(derivation: Derivation, name: string): readonly string[] | undefined {
  const value = derivationAttributes(derivation).get(name);
  if (value === undefined) return undefined;
  if (typeof value === 'string' && !derivation.env.has(STRUCTURED)) return value.split(/[ \t\n\r]+/).filter(isNotEmpty);
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
  throw attributeProblem(name, 'a list of texts');
}

const STRUCTURED = '__json';

// A closure walk asks for several attributes of each derivation, and the JSON can be large.
const attributesOf = new WeakMap<Derivation, ReadonlyMap<string, JsonValue>>();

function parseJson(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    throw new NixFormatError('derivation', `${STRUCTURED} is not JSON`);
  }
}

function isNotEmpty(text: string): boolean {
  return text !== '';
}

function attributeProblem(name: string, wanted: string): NixFormatError {
  return new NixFormatError('derivation', `the attribute ${name} is not ${wanted}`);
}
