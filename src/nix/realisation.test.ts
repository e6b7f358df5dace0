import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NixFormatError } from './format-error.ts';
import { hashBytes } from './hash.ts';
import {
  formatRealisation,
  formatRealisationPath,
  parseRealisation,
  parseRealisationPath,
  type RealisationKey,
  realisationFingerprint,
  signRealisation,
  trustedRealisationSignature,
} from './realisation.ts';
import { generateSecretKey, publicKeyOf, signText } from './signature.ts';
import { baseNameOf } from './store-path.ts';
import { makeTextPath } from './store-path-kinds.ts';

const HEX = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
const HEX_2 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const OUT = baseName('hello');
const DEPENDENCY = baseName('glibc');
const DERIVATION = baseName('hello.drv');
const hashed: RealisationKey = {
  layout: 'realisations',
  derivationHash: hashBytes('sha256', 'abc'),
  outputName: 'out',
};
const traced: RealisationKey = { layout: 'build-trace-v2', derivation: DERIVATION, outputName: 'dev' };
const secret = generateSecretKey('site-1', Buffer.alloc(32, 1));

// As Nix 2.8 writes it: compact, names sorted.
const HASHED_TEXT = `{"dependentRealisations":{"sha256:${HEX_2}!dev":"${DEPENDENCY}"},"id":"sha256:${HEX}!out","outPath":"${OUT}","signatures":["a:b","c:d"]}`;
const TRACED_TEXT = `{"outPath":"${OUT}","signatures":[{"keyName":"a","sig":"b"},{"keyName":"c","sig":"d"}]}`;

test('parseRealisationPath undoes formatRealisationPath when the layout is either', () => {
  assert.equal(formatRealisationPath(hashed), `realisations/sha256:${HEX}!out.doi`);
  assert.equal(formatRealisationPath(traced), `build-trace-v2/${DERIVATION}/dev.doi`);
  for (const key of [hashed, traced]) assert.deepEqual(parseRealisationPath(formatRealisationPath(key)), key);
});

test('parseRealisationPath is undefined when a name is of neither layout', () => {
  const names = [
    '',
    'realisations/',
    `realisations/sha256:${HEX}!out`,
    `realisations/sha256:${HEX}.doi`,
    `realisations/sha256:${HEX}!.doi`,
    `realisations/sha256:${HEX}!../x.doi`,
    `realisations/sha256:${HEX.slice(1)}!out.doi`,
    `realisations/${HEX}!out.doi`,
    `realisations/a/sha256:${HEX}!out.doi`,
    `build-trace-v2/${DERIVATION}.doi`,
    `build-trace-v2/${DERIVATION}/out.doi/out.doi`,
    `build-trace-v2/${DERIVATION}/.doi`,
    `build-trace-v2/${DERIVATION}/...doi`,
    `build-trace-v2/../${DERIVATION}/out.doi`,
    `build-trace-v2/hello.drv/out.doi`,
    `build-trace-v3/${DERIVATION}/out.doi`,
  ];
  for (const name of names) assert.equal(parseRealisationPath(name), undefined, name);
});

test('formatRealisation gives back what Nix wrote when the layout is either', () => {
  const older = parseRealisation(Buffer.from(HASHED_TEXT), hashed);
  assert.equal(older.outPath, OUT);
  assert.deepEqual(older.signatures, ['a:b', 'c:d']);
  assert.deepEqual([...older.dependencies], [[`sha256:${HEX_2}!dev`, DEPENDENCY]]);
  assert.equal(formatRealisation(older), HASHED_TEXT);
  const newer = parseRealisation(TRACED_TEXT, traced);
  assert.deepEqual(newer.signatures, ['a:b', 'c:d']);
  assert.equal(formatRealisation(newer), TRACED_TEXT);
});

test('parseRealisation reads signatures when they are written as in the other layout, or missing', () => {
  const texts = TRACED_TEXT.replace('{"keyName":"a","sig":"b"}', '"a:b"');
  assert.deepEqual(parseRealisation(texts, traced).signatures, ['a:b', 'c:d']);
  const objects = HASHED_TEXT.replace('"c:d"', '{"sig":"d","keyName":"c"}');
  assert.deepEqual(parseRealisation(objects, hashed).signatures, ['a:b', 'c:d']);
  assert.deepEqual(parseRealisation(`{"outPath":"${OUT}"}`, traced).signatures, []);
});

test('realisationFingerprint is the compact sorted JSON that Nix signs', () => {
  const unsigned = HASHED_TEXT.replace(',"signatures":["a:b","c:d"]', '');
  assert.equal(realisationFingerprint(parseRealisation(HASHED_TEXT, hashed)), unsigned);
  const one = `"sha256:${HEX_2}!dev":"${DEPENDENCY}"`;
  const two = `"sha256:${HEX}!lib":"${DEPENDENCY}"`;
  const unsorted = parseRealisation(HASHED_TEXT.replace(one, `${one},${two}`), hashed);
  assert.equal(realisationFingerprint(unsorted), unsigned.replace(one, `${two},${one}`));
  assert.equal(
    realisationFingerprint(parseRealisation(TRACED_TEXT, traced)),
    `{"key":{"drvPath":"${DERIVATION}","outputName":"dev"},"value":{"outPath":"${OUT}"}}`,
  );
});

test('signRealisation adds our signature once and drops what no Nix could verify', () => {
  for (const [text, key] of [
    [HASHED_TEXT, hashed],
    [TRACED_TEXT, traced],
  ] as const) {
    const unsigned = parseRealisation(text, key);
    const signed = signRealisation(unsigned, secret);
    assert.deepEqual(signed.signatures, [signText(secret, realisationFingerprint(unsigned))]);
    assert.deepEqual(signRealisation(signed, secret), signed);
    assert.equal(trustedRealisationSignature(signed, [publicKeyOf(secret)]), signed.signatures[0]);
    assert.equal(trustedRealisationSignature({ ...signed, outPath: DEPENDENCY }, [publicKeyOf(secret)]), undefined);
    assert.equal(trustedRealisationSignature(unsigned, [publicKeyOf(secret)]), undefined);
    assert.deepEqual(parseRealisation(formatRealisation(signed), key), signed);
  }
});

test('parseRealisation refuses when the file is not what its name says, or damaged', () => {
  const refused = [
    '',
    '[]',
    'null',
    '{',
    HASHED_TEXT.replace(HEX, HEX_2),
    HASHED_TEXT.replace('!out"', '!dev"'),
    HASHED_TEXT.replace(OUT, '../x'),
    HASHED_TEXT.replace(`"${OUT}"`, '1'),
    HASHED_TEXT.replace('"a:b"', '1'),
    HASHED_TEXT.replace('["a:b","c:d"]', '"a:b"'),
    HASHED_TEXT.replace(DEPENDENCY, 'x'),
    HASHED_TEXT.replace(`sha256:${HEX_2}`, 'sha256:1'),
    TRACED_TEXT,
  ];
  for (const text of refused) assert.throws(() => parseRealisation(text, hashed), NixFormatError, text);
  const many = JSON.stringify({ outPath: OUT, signatures: Array.from({ length: 1001 }, (_, index) => `k:${index}`) });
  assert.throws(() => parseRealisation(many, traced), NixFormatError);
});

function baseName(name: string) {
  return baseNameOf(makeTextPath(name, hashBytes('sha256', name), [], '/nix/store'));
}
