// Real Nix as the oracle for .drv files and realisations: what it wrote we print alike, and read as it does.

import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { contentAddressNamesPath } from '../src/nix/content-address.ts';
import { type Derivation, formatDerivation, parseDerivation } from '../src/nix/derivation.ts';
import {
  booleanAttribute,
  derivationAttributes,
  stringAttribute,
  stringsAttribute,
} from '../src/nix/derivation-attributes.ts';
import { derivationKind, fixedOutput, isFixedOutput, outputPaths } from '../src/nix/derivation-output.ts';
import { hashBytes } from '../src/nix/hash.ts';
import {
  formatRealisation,
  formatRealisationPath,
  parseRealisation,
  parseRealisationPath,
  type Realisation,
  realisationFingerprint,
  trustedRealisationSignature,
} from '../src/nix/realisation.ts';
import { type PublicKey, parsePublicKey, parseSecretKey, type SecretKey, signText } from '../src/nix/signature.ts';
import { nameOf, parseStorePath, type StorePath } from '../src/nix/store-path.ts';
import { makeOutputPath, makeTextPath } from '../src/nix/store-path-kinds.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';

const STORE_DIR = '/nix/store';

let nix: NixEnvironment;
/** Every .drv file in the store. */
const files = new Map<StorePath, Buffer>();
/** The same as Nix shows them. */
let shown: Readonly<Record<string, ShownDerivation>>;

before(async () => {
  nix = await createNixEnvironment({ config: ['extra-experimental-features = impure-derivations'] });
  const expression = path.join(nix.directory, 'derivations.nix');
  // Bytes that are no UTF-8: a file name or a message in an old encoding ends up in environments like this.
  await writeFile(
    expression,
    Buffer.concat([Buffer.from(DERIVATIONS), Buffer.from([0x22, 0xff, 0xe9, 0x22]), Buffer.from('; }) ]')]),
  );
  const roots = await nix.lines('nix-instantiate', [expression]);
  for (const name of await readdir(nix.physical(STORE_DIR))) {
    if (!name.endsWith('.drv')) continue;
    files.set(parseStorePath(`${STORE_DIR}/${name}`, STORE_DIR), await readFile(nix.physical(`${STORE_DIR}/${name}`)));
  }
  assert.ok(files.size >= roots.length);
  // Nix cannot show the one that is not UTF-8 as JSON.
  const showable = [...files.keys()].filter((file) => !file.endsWith('-bytes.drv'));
  shown = JSON.parse((await nix.run('nix', ['show-derivation', ...showable])).stdout);
});
after(() => nix[Symbol.asyncDispose]());

test('formatDerivation gives back every byte when Nix wrote the derivation', () => {
  for (const [file, bytes] of files) {
    const derivation = parseDerivation(bytes);
    assert.deepEqual(formatDerivation(derivation).toString('latin1'), bytes.toString('latin1'), file);
    assert.equal(derivation.encoding, file.endsWith('-bytes.drv') ? 'latin1' : 'utf8');
  }
  const bytes = find('bytes');
  assert.deepEqual(Buffer.from(bytes.env.get('value') ?? '', 'latin1'), Buffer.from([0xff, 0xe9]));
});

test('makeTextPath gives the path of each .drv file from its bytes and inputs', () => {
  for (const [file, bytes] of files) {
    const { inputDerivations, inputSources } = parseDerivation(bytes);
    const references = [...inputSources, ...inputDerivations.keys()];
    assert.equal(makeTextPath(nameOf(file), hashBytes('sha256', bytes), references, STORE_DIR), file);
  }
});

test('parseDerivation reads what nix show-derivation shows', () => {
  assert.ok(Object.keys(shown).length >= 12);
  for (const [file, expected] of Object.entries(shown)) {
    const derivation = parseDerivation(files.get(parseStorePath(file, STORE_DIR)) ?? Buffer.alloc(0));
    assert.deepEqual(Object.fromEntries(derivation.env), expected.env, file);
    assert.deepEqual(derivation.args, expected.args);
    assert.equal(derivation.builder, expected.builder);
    assert.equal(derivation.system, expected.system);
    assert.deepEqual(derivation.inputSources, expected.inputSrcs);
    const inputs = [...derivation.inputDerivations].map(([input, { names }]) => [input, names]);
    assert.deepEqual(Object.fromEntries(inputs), expected.inputDrvs);
    const outputs = [...derivation.outputs].map(([name, output]) => [
      name,
      { path: output.path, algo: output.hashAlgorithm, hash: output.hash },
    ]);
    const wanted = Object.entries(expected.outputs).map(([name, output]) => [
      name,
      { path: output.path, algo: output.hashAlgo ?? '', hash: output.impure === true ? 'impure' : (output.hash ?? '') },
    ]);
    assert.deepEqual(outputs, wanted);
  }
});

test('makeOutputPath gives the output paths when a derivation without inputs is hashed as Nix does', () => {
  for (const name of ['plain', 'several', 'structured', 'odd', 'bytes']) {
    const derivation = find(name);
    assert.equal(derivation.inputDerivations.size, 0);
    // The hash that names outputs is taken while their places are still empty.
    const outputs = new Map([...derivation.outputs].map(([key, output]) => [key, { ...output, path: undefined }]));
    const env = new Map([...derivation.env].map(([key, value]) => [key, outputs.has(key) ? '' : value]));
    const hash = hashBytes('sha256', formatDerivation({ ...derivation, outputs, env }));
    for (const [key, output] of outputPaths(derivation)) {
      assert.equal(makeOutputPath(key, hash, name, STORE_DIR), output);
    }
  }
});

test('fixedOutput names the contents that lead to the path when algorithms and modes vary', () => {
  const fixed = [...files.values()].map((bytes) => parseDerivation(bytes)).filter(isFixedOutput);
  assert.equal(fixed.length, 8);
  for (const derivation of fixed) {
    for (const output of derivation.outputs.values()) {
      const found = fixedOutput(output);
      assert.ok(found !== undefined);
      assert.equal(contentAddressNamesPath(found.contentAddress, found.path, []), true);
    }
  }
});

test('derivationKind tells the kinds apart when Nix instantiated each of them', () => {
  assert.equal(derivationKind(find('plain')), 'input-addressed');
  assert.equal(derivationKind(find('fixed-sha256-flat')), 'fixed');
  assert.equal(derivationKind(find('floating')), 'floating');
  assert.equal(derivationKind(find('above-floating')), 'deferred');
  assert.equal(derivationKind(find('impure')), 'impure');
  assert.deepEqual([...outputPaths(find('above-floating'))], [['out', undefined]]);
  assert.deepEqual([...outputPaths(find('several')).keys()], ['dev', 'lib', 'out']);
});

test('derivationAttributes merges what Nix put into __json when attributes are structured', () => {
  const structured = find('structured');
  const attributes = derivationAttributes(structured);
  assert.deepEqual(attributes.get('nested'), { list: [1, 'two', null, { three: 3.5 }], 'odd "key"\n': true });
  assert.equal(attributes.has('__json'), false);
  assert.equal(stringAttribute(structured, 'out'), structured.env.get('out'));
  assert.equal(booleanAttribute(structured, 'allowSubstitutes', true), false);
  assert.deepEqual(stringsAttribute(structured, 'urls'), ['http://a.example/x', 'http://b.example/x']);
  const plain = find('plain');
  assert.equal(booleanAttribute(plain, 'allowSubstitutes', true), false);
  assert.deepEqual(stringsAttribute(plain, 'urls'), ['http://a.example/x', 'http://b.example/x']);
});

test('formatRealisation, fingerprint and signature are those of Nix when it built content-addressed outputs', async () => {
  const { realisations, secret, publicKey } = await buildRealisations();
  assert.ok(realisations.length >= 3);
  for (const { name, text } of realisations) {
    const key = parseRealisationPath(name);
    assert.ok(key !== undefined, name);
    assert.equal(formatRealisationPath(key), name);
    const realisation: Realisation = parseRealisation(text, key);
    assert.equal(formatRealisation(realisation), text);
    assert.deepEqual(realisation.signatures, [signText(secret, realisationFingerprint(realisation))]);
    assert.equal(trustedRealisationSignature(realisation, [publicKey]), realisation.signatures[0]);
  }
  assert.ok(
    realisations.some(({ text }) => !text.includes('"dependentRealisations":{}')),
    'one that depends on another is among them',
  );
});

interface ShownOutput {
  readonly path?: string;
  readonly hashAlgo?: string;
  readonly hash?: string;
  readonly impure?: boolean;
}

interface ShownDerivation {
  readonly outputs: Readonly<Record<string, ShownOutput>>;
  readonly inputSrcs: readonly string[];
  readonly inputDrvs: Readonly<Record<string, readonly string[]>>;
  readonly system: string;
  readonly builder: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

function find(name: string): Derivation {
  for (const [file, bytes] of files) {
    if (nameOf(file) === `${name}.drv`) return parseDerivation(bytes);
  }
  throw new Error(`Nix wrote no ${name}.drv`);
}

async function buildRealisations(): Promise<{
  realisations: { name: string; text: string }[];
  secret: SecretKey;
  publicKey: PublicKey;
}> {
  const [secretFile, publicFile] = [path.join(nix.directory, 'key.secret'), path.join(nix.directory, 'key.public')];
  await nix.run('nix-store', ['--generate-binary-cache-key', 'oracle-1', secretFile, publicFile]);
  const file = path.join(nix.directory, 'floating.nix');
  await writeFile(file, FLOATING);
  const args = ['--no-link', '--impure', '--file', file, 'top', '--option', 'secret-key-files', secretFile];
  await nix.run('nix', ['build', ...args]);
  const cache = path.join(nix.directory, 'floating-cache');
  await nix.run('nix', ['copy', '--to', `file://${cache}`, '--impure', '--file', file, 'top']);
  const names = await readdir(path.join(cache, 'realisations'));
  return {
    realisations: await Promise.all(
      names.map(async (name) => ({
        name: `realisations/${name}`,
        text: await readFile(path.join(cache, 'realisations', name), 'utf8'),
      })),
    ),
    secret: parseSecretKey(await readFile(secretFile, 'utf8')),
    publicKey: parsePublicKey(await readFile(publicFile, 'utf8')),
  };
}

const FLOATING = `
  let
    make = name: outputs: script: derivation {
      inherit name outputs; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
      __contentAddressed = true; outputHashAlgo = "sha256"; outputHashMode = "recursive";
    };
    base = make "base" [ "out" "dev" ] "echo base > $out; echo dev > $dev";
  in { top = make "top" [ "out" ] "echo \${base} \${base.dev} > $out"; }`;

// Ends where the caller puts a string of bytes, a semicolon and the closing brackets.
const DERIVATIONS = `
  let
    make = name: env: derivation ({ inherit name; system = "x86_64-linux"; builder = "/bin/sh"; } // env);
    fixed = algorithm: mode: make "fixed-\${algorithm}-\${mode}" {
      outputHashAlgo = algorithm; outputHashMode = mode; outputHash = builtins.hashString algorithm mode;
    };
    several = make "several" { outputs = [ "out" "dev" "lib" ]; };
    floating = make "floating" { __contentAddressed = true; outputHashAlgo = "sha256"; outputHashMode = "recursive"; };
    urls = [ "http://a.example/x" "http://b.example/x" ];
  in builtins.concatMap (mode: map (algorithm: fixed algorithm mode) [ "md5" "sha1" "sha256" "sha512" ]) [ "flat" "recursive" ] ++ [
    several
    floating
    (make "plain" { allowSubstitutes = false; inherit urls; })
    (make "above-floating" { input = floating; })
    (make "impure" { __impure = true; })
    (make "inputs" {
      a = several; b = several.dev; c = builtins.toFile "source.sh" "echo"; d = fixed "sha256" "flat"; e = builtins.toFile "a" "a";
    })
    (make "structured" {
      __structuredAttrs = true; allowSubstitutes = false; inherit urls;
      nested = { list = [ 1 "two" null { three = 3.5; } ]; "odd \\"key\\"\\n" = true; };
      unicode = "zwölf 🧊";
    })
    (make "odd" {
      args = [ "" " " "\\\\" "\\"" "\\n\\r\\t" "\\\\n" "a\\\\\\"b" "$out" "zwölf 🧊" ];
      empty = ""; "odd.name-1" = "'"; "ö" = "1"; "￮" = "2"; "🧊" = "3"; tab = "\\t"; list = [ 1 "a b" true ];
    })
    (make "bytes" { value = `;
