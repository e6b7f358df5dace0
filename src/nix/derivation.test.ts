import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { type Derivation, formatDerivation, type InputOutputs, parseDerivation } from './derivation.ts';
import { NixFormatError } from './format-error.ts';
import { hashBytes } from './hash.ts';
import type { StorePath } from './store-path.ts';
import { makeTextPath } from './store-path-kinds.ts';

const STORE_DIR = '/nix/store';
const OUT = path('hello-2.12');
const [A, B] = [path('a.drv'), path('b.drv')].sort() as [StorePath, StorePath];
const SOURCE = path('builder.sh');

const PLAIN = `Derive([("out","${OUT}","","")],[("${A}",["dev","out"]),("${B}",["out"])],["${SOURCE}"],"x86_64-linux","/bin/sh",["-e","a \\"b\\"\\n"],[("name","hello-2.12"),("out","${OUT}")])`;

test('parseDerivation reads every part when Nix wrote the derivation', () => {
  const derivation = parseDerivation(Buffer.from(PLAIN));
  assert.deepEqual(derivation, {
    outputs: new Map([['out', { path: OUT, hashAlgorithm: '', hash: '' }]]),
    inputDerivations: new Map([
      [A, { names: ['dev', 'out'], dynamic: new Map() }],
      [B, { names: ['out'], dynamic: new Map() }],
    ]),
    inputSources: [SOURCE],
    system: 'x86_64-linux',
    builder: '/bin/sh',
    args: ['-e', 'a "b"\n'],
    env: new Map([
      ['name', 'hello-2.12'],
      ['out', OUT],
    ]),
    encoding: 'utf8',
  });
  assert.equal(formatDerivation(derivation).toString(), PLAIN);
});

test('parseDerivation reads dynamic derivations when the newer form has them', () => {
  const text = `DrvWithVersion("xp-dyn-drv",[("out","","r:sha256","")],[("${A}",(["out"],[("out",["dev","out"]),("x",([],[("y",["z"])]))])),("${B}",["out"])],[],"s","b",[],[])`;
  const derivation = parseDerivation(Buffer.from(text));
  assert.deepEqual(derivation.inputDerivations.get(A), {
    names: ['out'],
    dynamic: new Map<string, InputOutputs>([
      ['out', { names: ['dev', 'out'], dynamic: new Map() }],
      ['x', { names: [], dynamic: new Map([['y', { names: ['z'], dynamic: new Map() }]]) }],
    ]),
  });
  assert.equal(formatDerivation(derivation).toString(), text);
  const onlyInTheNewForm = Buffer.from(text.replace('DrvWithVersion("xp-dyn-drv",', 'Derive('));
  assert.throws(() => parseDerivation(onlyInTheNewForm), NixFormatError);
});

test('parseDerivation keeps bytes that are no UTF-8 and formatDerivation writes them again', () => {
  const bytes = Buffer.concat([
    Buffer.from(PLAIN.slice(0, -2)),
    Buffer.from([0x2c, 0x28, 0x22, 0x7a, 0x22, 0x2c, 0x22, 0xff, 0xc3, 0x22, 0x29, 0x5d, 0x29]),
  ]);
  const derivation = parseDerivation(bytes);
  assert.equal(derivation.encoding, 'latin1');
  assert.deepEqual(Buffer.from(derivation.env.get('z') ?? '', 'latin1'), Buffer.from([0xff, 0xc3]));
  assert.deepEqual(formatDerivation(derivation), bytes);
});

test('formatDerivation sorts by bytes, not by UTF-16, when names are beyond ASCII', () => {
  const derivation = parseDerivation(Buffer.from(PLAIN));
  const env = new Map(['\u{1f9ca}', '\uffee', 'é', 'z'].map((name) => [name, '']));
  const text = formatDerivation({ ...derivation, env }).toString();
  assert.ok(text.endsWith('[("z",""),("é",""),("\uffee",""),("\u{1f9ca}","")])'));
});

test('parseDerivation refuses what Nix never writes', () => {
  const fixed = (algorithm: string, digest: string): string => PLAIN.replace('"",""', `"${algorithm}","${digest}"`);
  const refused = {
    nothing: '',
    'another term': PLAIN.replace('Derive', 'Derived'),
    'an unknown version': PLAIN.replace('Derive(', 'DrvWithVersion("later",'),
    'bytes after the end': `${PLAIN}\n`,
    'a missing part': PLAIN.replace(',"x86_64-linux"', ''),
    'white space': PLAIN.replace('),("', '), ("'),
    'no outputs': PLAIN.replace(/^Derive\(\[.*?\]/, 'Derive([]'),
    'an output name with a slash': PLAIN.replace('("out"', '("a/b"'),
    'an output path outside of the store': PLAIN.replace(OUT, '/tmp/x'),
    'an input outside of the store': PLAIN.replace(A, '/etc/passwd'),
    'a source that is no store path': PLAIN.replace(SOURCE, '/nix/store/x'),
    'two outputs of a name': PLAIN.replace('("out"', `("out","${OUT}","",""),("out"`),
    'an input twice': PLAIN.replace(B, A),
    'a variable twice': PLAIN.replace('("name"', '("out"'),
    'outputs of two kinds': PLAIN.replace('("out"', '("dev","","r:sha256",""),("out"'),
    'a hash without algorithm': fixed('', '00'),
    'a path with an algorithm, but no hash': fixed('r:sha256', ''),
    'a hash of the wrong length': fixed('sha256', 'abcd'),
    'a fixed output without path': fixed('sha256', '0'.repeat(64)).replace(`"out","${OUT}"`, '"out",""'),
  };
  for (const [what, text] of Object.entries(refused)) {
    assert.notEqual(text, PLAIN, what);
    assert.throws(() => parseDerivation(Buffer.from(text)), NixFormatError, what);
  }
});

test('parseDerivation says what it expected and where', () => {
  const text = PLAIN.replace(',"/bin/sh"', ';"/bin/sh"');
  assert.throws(() => parseDerivation(Buffer.from(text)), {
    message: /expected ,, found ";/,
    position: text.indexOf(';"/bin/sh"'),
  });
});

test('parseDerivation refuses another store folder unless it is asked for', () => {
  const text = Buffer.from(PLAIN.replaceAll('/nix/store', '/gnu/store'));
  assert.throws(() => parseDerivation(text), NixFormatError);
  assert.deepEqual(formatDerivation(parseDerivation(text, '/gnu/store')), text);
});

test('parseDerivation ends soon when dynamic derivations are nested without end', () => {
  const depth = 100_000;
  const nested = `${'([],[("a",'.repeat(depth)}[]${')])'.repeat(depth)}`;
  const text = `DrvWithVersion("xp-dyn-drv",[("out","","r:sha256","")],[("${A}",${nested})],[],"s","b",[],[])`;
  assert.throws(() => parseDerivation(Buffer.from(text)), NixFormatError);
});

test('parseDerivation undoes formatDerivation when its parts are any', () => {
  fc.assert(
    fc.property(anyDerivation, (derivation) => {
      const parsed = parseDerivation(formatDerivation(derivation));
      assert.deepEqual(parsed.env, derivation.env);
      assert.deepEqual({ ...parsed, env: undefined }, { ...derivation, env: undefined });
    }),
  );
});

const anyText = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('"', '\\', '\n\r\t', '\\n'));
const sortedPaths = fc
  .uniqueArray(fc.stringMatching(/^[a-z]{1,8}$/))
  .map((names) => names.map((name) => path(name)).sort());
const outputNames = fc
  .uniqueArray(fc.constantFrom('bin', 'dev', 'lib', 'man', 'out'), { minLength: 1 })
  .map((names) => names.sort());
const { inputOutputs } = fc.letrec<{ inputOutputs: InputOutputs }>((tie) => ({
  inputOutputs: fc.record(
    {
      names: outputNames,
      dynamic: fc.oneof(
        { maxDepth: 3 },
        fc.constant(new Map<string, InputOutputs>()),
        fc.tuple(outputNames, tie('inputOutputs')).map(([names, next]) => new Map(names.map((name) => [name, next]))),
      ),
    },
    { noNullPrototype: true },
  ),
}));
const anyDerivation: fc.Arbitrary<Derivation> = fc.record(
  {
    outputs: outputNames.map(
      (names) => new Map(names.map((name) => [name, { path: path(`x-${name}`), hashAlgorithm: '', hash: '' }])),
    ),
    inputDerivations: fc
      .tuple(sortedPaths, inputOutputs)
      .map(([paths, outputs]) => new Map(paths.map((input) => [input, outputs]))),
    inputSources: sortedPaths,
    system: anyText,
    builder: anyText,
    args: fc.array(anyText),
    env: fc.array(fc.tuple(anyText, anyText)).map((entries) => new Map(entries)),
    encoding: fc.constant('utf8' as const),
  },
  { noNullPrototype: true },
);

function path(name: string): StorePath {
  return makeTextPath(name, hashBytes('sha256', name), [], STORE_DIR);
}
