import {
  type AtermReader,
  atermProblem,
  expectToken,
  formatList,
  formatQuoted,
  openAterm,
  readList,
  readQuoted,
  readTuple,
  skipToken,
} from './aterm.ts';
import { findOutputProblem, outputKind } from './derivation-output.ts';
import { NixFormatError } from './format-error.ts';
import { DEFAULT_STORE_DIR, findNameProblem, parseStorePath, type StorePath } from './store-path.ts';

/** One output as the file has it; outputKind says what the empty places mean. */
export interface DerivationOutput {
  /** Undefined where the path is known only after building. */
  readonly path: StorePath | undefined;
  /** `sha256`, `r:sha256`, …, or empty. */
  readonly hashAlgorithm: string;
  /** Base16 for a fixed output, `impure`, or empty. */
  readonly hash: string;
}

/** Which outputs of an input are needed. */
export interface InputOutputs {
  readonly names: readonly string[];
  /** Outputs that are derivations themselves, of which outputs are needed in turn (dynamic derivations); mostly empty. */
  readonly dynamic: ReadonlyMap<string, InputOutputs>;
}

/** A `.drv` file. Its name is not in it: that is in its store path. */
export interface Derivation {
  readonly outputs: ReadonlyMap<string, DerivationOutput>;
  readonly inputDerivations: ReadonlyMap<StorePath, InputOutputs>;
  readonly inputSources: readonly StorePath[];
  readonly system: string;
  readonly builder: string;
  readonly args: readonly string[];
  readonly env: ReadonlyMap<string, string>;
  /** How strings stand for bytes: as UTF-8, or one character a byte where the file is no UTF-8. */
  readonly encoding: 'utf8' | 'latin1';
}

/**
 * Reads a `.drv` file, also the form with dynamic derivations. Beyond what Nix refuses: duplicates, bytes after the end and
 * outputs of several kinds. (Nix: derivations.cc, `parseDerivation`)
 * @throws NixFormatError
 */
export function parseDerivation(bytes: Uint8Array, storeDir: string = DEFAULT_STORE_DIR): Derivation {
  const { text, encoding } = decode(bytes);
  const reader = openAterm(text);
  const isDynamic = skipToken(reader, 'DrvWithVersion("xp-dyn-drv",');
  if (!isDynamic) expectToken(reader, 'Derive(');
  const outputs = readOutputs(reader, storeDir);
  expectToken(reader, ',');
  const inputDerivations = readInputDerivations(reader, storeDir, isDynamic);
  expectToken(reader, ',');
  const inputSources = readStrings(reader).map((path) => parsePath(reader, path, storeDir));
  expectToken(reader, ',');
  const system = readQuoted(reader);
  expectToken(reader, ',');
  const builder = readQuoted(reader);
  expectToken(reader, ',');
  const args = readStrings(reader);
  expectToken(reader, ',');
  const env = readEnvironment(reader);
  expectToken(reader, ')');
  if (reader.position !== text.length) throw atermProblem(reader, 'expected the end');
  return { outputs, inputDerivations, inputSources, system, builder, args, env, encoding };
}

/** Writes a `.drv` file as Nix does, everything but the arguments sorted; what Nix wrote comes out byte for byte. */
export function formatDerivation(derivation: Derivation): Buffer {
  const isDynamic = [...derivation.inputDerivations.values()].some((outputs) => outputs.dynamic.size > 0);
  const outputs = sortedEntries(derivation.outputs).map(([name, output]) => {
    return `(${[name, output.path ?? '', output.hashAlgorithm, output.hash].map(formatQuoted).join(',')})`;
  });
  const inputs = sortedEntries(derivation.inputDerivations).map(([path, needed]) => {
    return `(${formatQuoted(path)},${formatInputOutputs(needed)})`;
  });
  const env = sortedEntries(derivation.env).map(([name, value]) => `(${formatQuoted(name)},${formatQuoted(value)})`);
  const parts = [
    formatList(outputs),
    formatList(inputs),
    formatList([...derivation.inputSources].sort().map(formatQuoted)),
    formatQuoted(derivation.system),
    formatQuoted(derivation.builder),
    formatList(derivation.args.map(formatQuoted)),
    formatList(env),
  ];
  const head = isDynamic ? 'DrvWithVersion("xp-dyn-drv",' : 'Derive(';
  return Buffer.from(`${head}${parts.join(',')})`, derivation.encoding);
}

/** Far more than anybody nests, far less than the call stack holds. */
const DYNAMIC_DEPTH_MAX = 64;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decode(bytes: Uint8Array): { text: string; encoding: 'utf8' | 'latin1' } {
  try {
    return { text: UTF8.decode(bytes), encoding: 'utf8' };
  } catch {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
    return { text, encoding: 'latin1' };
  }
}

function readOutputs(reader: AtermReader, storeDir: string): Map<string, DerivationOutput> {
  const outputs = new Map<string, DerivationOutput>();
  const kinds = new Set<string>();
  readList(reader, () => {
    const [name = '', path = '', hashAlgorithm = '', hash = ''] = readTuple(reader, 4);
    if (findNameProblem(name, 0) !== undefined)
      throw atermProblem(reader, 'expected the name of an output before this');
    const output = { path: path === '' ? undefined : parsePath(reader, path, storeDir), hashAlgorithm, hash };
    const problem = findOutputProblem(output);
    if (problem !== undefined) throw atermProblem(reader, problem);
    kinds.add(outputKind(output));
    addOnce(reader, outputs, name, output);
  });
  if (kinds.size !== 1) throw atermProblem(reader, 'expected outputs, all of one kind, before this');
  return outputs;
}

function readInputDerivations(reader: AtermReader, storeDir: string, isDynamic: boolean): Map<StorePath, InputOutputs> {
  const inputs = new Map<StorePath, InputOutputs>();
  readList(reader, () => {
    expectToken(reader, '(');
    const path = parsePath(reader, readQuoted(reader), storeDir);
    expectToken(reader, ',');
    addOnce(reader, inputs, path, readInputOutputs(reader, isDynamic ? DYNAMIC_DEPTH_MAX : 0));
    expectToken(reader, ')');
  });
  return inputs;
}

function readInputOutputs(reader: AtermReader, depthLeft: number): InputOutputs {
  const dynamic = new Map<string, InputOutputs>();
  if (depthLeft === 0 || !skipToken(reader, '(')) return { names: readStrings(reader), dynamic };
  const names = readStrings(reader);
  expectToken(reader, ',');
  readList(reader, () => {
    expectToken(reader, '(');
    const name = readQuoted(reader);
    expectToken(reader, ',');
    addOnce(reader, dynamic, name, readInputOutputs(reader, depthLeft - 1));
    expectToken(reader, ')');
  });
  expectToken(reader, ')');
  return { names, dynamic };
}

function readEnvironment(reader: AtermReader): Map<string, string> {
  const env = new Map<string, string>();
  readList(reader, () => {
    const [name = '', value = ''] = readTuple(reader, 2);
    addOnce(reader, env, name, value);
  });
  return env;
}

function readStrings(reader: AtermReader): string[] {
  const strings: string[] = [];
  readList(reader, () => strings.push(readQuoted(reader)));
  return strings;
}

function addOnce<Key, Value>(reader: AtermReader, map: Map<Key, Value>, key: Key, value: Value): void {
  if (map.has(key)) throw atermProblem(reader, 'the entry before this stands there twice');
  map.set(key, value);
}

function parsePath(reader: AtermReader, path: string, storeDir: string): StorePath {
  try {
    return parseStorePath(path, storeDir);
  } catch (error) {
    if (error instanceof NixFormatError) throw new NixFormatError('derivation', error.message, reader.position);
    throw error;
  }
}

function formatInputOutputs({ names, dynamic }: InputOutputs): string {
  const list = formatList(sortTexts(names).map(formatQuoted));
  if (dynamic.size === 0) return list;
  const nested = sortedEntries(dynamic).map(
    ([name, outputs]) => `(${formatQuoted(name)},${formatInputOutputs(outputs)})`,
  );
  return `(${list},${formatList(nested)})`;
}

function sortedEntries<Key extends string, Value>(map: ReadonlyMap<Key, Value>): [Key, Value][] {
  return [...map].sort(([a], [b]) => compareTexts(a, b));
}

function sortTexts(texts: readonly string[]): string[] {
  return [...texts].sort(compareTexts);
}

// Nix sorts bytes. Comparing UTF-16 units differs from that only beyond the surrogates.
function compareTexts(a: string, b: string): number {
  if (ASTRAL.test(a) || ASTRAL.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b));
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

const ASTRAL = /[\ud800-\uffff]/;
