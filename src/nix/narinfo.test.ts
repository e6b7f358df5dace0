import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { BASE32_ALPHABET } from './base32.ts';
import { NixFormatError } from './format-error.ts';
import { formatHash, hashFromDigest } from './hash.ts';
import { formatNarInfo, type NarInfo, narInfoFingerprint, parseNarInfo } from './narinfo.ts';
import { storePathFromBaseName } from './store-path.ts';

const STORE_DIR = '/nix/store';
const FILE_HASH = 'sha256:1nhgq6wcggx0plpy4991h3ginj6hipsdslv4fd4zml1n707j26yq';
const NAR_HASH = 'sha256:0yzhigwjl6bws649vcs2asa4lbs8hg93hyix187gc7s7a74w5h80';
const GLIBC = '9v5d40jyvmwgnq1nj8f19ji2rcc5dksd-glibc-2.37-45';
const HELLO = 'q1dmr29w0zxkqykmqb4yjmsalz1pbg7n-hello-2.12.1';
const WRITTEN = `StorePath: /nix/store/${HELLO}
URL: nar/1nhgq6wcggx0plpy4991h3ginj6hipsdslv4fd4zml1n707j26yq.nar.xz
Compression: xz
FileHash: ${FILE_HASH}
FileSize: 50088
NarHash: ${NAR_HASH}
NarSize: 226488
References: ${GLIBC} ${HELLO}
Deriver: 4j9kx1vn34m3p3kwhm6pvf4a8v6kgqs7-hello-2.12.1.drv
Sig: cache.example.org-1:AA==
Sig: site-1:BB==
`;

test('parseNarInfo reads every field when Nix wrote the narinfo', () => {
  assert.deepEqual(parseNarInfo(WRITTEN, STORE_DIR), {
    storePath: `/nix/store/${HELLO}`,
    url: 'nar/1nhgq6wcggx0plpy4991h3ginj6hipsdslv4fd4zml1n707j26yq.nar.xz',
    compression: 'xz',
    fileHash: FILE_HASH,
    fileSizeBytes: 50_088,
    narHash: NAR_HASH,
    narSizeBytes: 226_488,
    references: [`/nix/store/${GLIBC}`, `/nix/store/${HELLO}`],
    deriver: '/nix/store/4j9kx1vn34m3p3kwhm6pvf4a8v6kgqs7-hello-2.12.1.drv',
    signatures: ['cache.example.org-1:AA==', 'site-1:BB=='],
  });
  assert.deepEqual(parseNarInfo(Buffer.from(WRITTEN), STORE_DIR), parseNarInfo(WRITTEN, STORE_DIR));
});

test('formatNarInfo gives back every byte when Nix wrote the narinfo', () => {
  const complete = WRITTEN.replace('Sig: ', 'System: x86_64-linux\nSig: ').concat(`CA: fixed:r:${NAR_HASH}\n`);
  for (const text of [WRITTEN, complete]) assert.equal(formatNarInfo(parseNarInfo(text, STORE_DIR)), text);
});

test('parseNarInfo takes the compression for bzip2 when it is missing or empty, as Nix does', () => {
  for (const change of ['', 'Compression: \n']) {
    assert.equal(parseNarInfo(WRITTEN.replace('Compression: xz\n', change), STORE_DIR).compression, 'bzip2');
  }
});

test('parseNarInfo takes a FileSize of 0 for unknown', () => {
  assert.equal(parseNarInfo(WRITTEN.replace('50088', '0'), STORE_DIR).fileSizeBytes, undefined);
});

test('parseNarInfo keeps query and host when the URL has them', () => {
  for (const url of ['nar/x.nar?hash=abc&b=:1', 'https://other.example/x y', 'opaque', '../nar/ü']) {
    assert.equal(parseNarInfo(WRITTEN.replace(/^URL: .*$/m, `URL: ${url}`), STORE_DIR).url, url);
  }
});

test('parseNarInfo counts references and signatures once when they are repeated', () => {
  const info = parseNarInfo(`${WRITTEN.replace(GLIBC, `${GLIBC} ${GLIBC}`)}Sig: site-1:BB==\n`, STORE_DIR);
  assert.equal(info.references.length, 2);
  assert.equal(info.signatures.length, 2);
});

test('parseNarInfo reads what Nix reads when fields are odd', () => {
  assert.equal(read(WRITTEN.replace(/^Deriver: .*$/m, 'Deriver: unknown-deriver')).deriver, undefined);
  assert.equal(read(`${WRITTEN}CA: \n`).contentAddress, undefined);
  assert.equal(read(WRITTEN.replace('226488', '+0226488')).narSizeBytes, 226_488);
  assert.equal(read(WRITTEN.replace('URL: nar', 'URL:xnar')).url, read(WRITTEN).url);
  assert.deepEqual(read(WRITTEN.replace(/^References: .*\n/m, '')).references, []);
  assert.deepEqual(read(WRITTEN.replace(GLIBC, `  ${GLIBC} `)), read(WRITTEN));
  assert.deepEqual(read(`new: x\nStorePath2: y\n${WRITTEN}url:  \n`), read(WRITTEN));
});

test('parseNarInfo refuses what Nix calls corrupt', () => {
  const without = (field: string): string => WRITTEN.replace(new RegExp(`^${field}: .*\n`, 'm'), '');
  const refused = [
    '',
    WRITTEN.slice(0, -1),
    `${WRITTEN}X`,
    `${WRITTEN}X: `,
    without('StorePath'),
    without('URL'),
    without('NarHash'),
    without('NarSize'),
    WRITTEN.replace(/^URL: .*$/m, 'URL: '),
    WRITTEN.replace('226488', '0'),
    WRITTEN.replace('226488', ''),
    WRITTEN.replace('226488', '-1'),
    WRITTEN.replace('50088', 'many'),
    WRITTEN.replace(/^NarHash: sha256:/m, 'NarHash: '),
    WRITTEN.replace(/^Deriver: .*$/m, 'Deriver: '),
    `${WRITTEN}CA: fixed:r:sha256:abc\n`,
    `${WRITTEN}CA: what\n`,
  ];
  for (const text of refused) assert.throws(() => parseNarInfo(text, STORE_DIR), NixFormatError, text);
});

test('parseNarInfo refuses what would mean one thing to us and another to Nix', () => {
  const refused = {
    'a carriage return': WRITTEN.replace('Compression: xz', 'Compression: xz\r'),
    'a carriage return in a field that nobody knows': `${WRITTEN}X: a\r\n`,
    'a NUL': `${WRITTEN}X: \0\n`,
    'two StorePaths': `${WRITTEN}StorePath: /nix/store/${HELLO}\n`,
    'two NarHashes': `${WRITTEN}NarHash: ${NAR_HASH}\n`,
    'two URLs': `${WRITTEN}URL: x\n`,
    'two empty References': `${WRITTEN.replace(/^References: .*$/m, 'References: ')}References: \n`,
    'a line without a colon in the middle': WRITTEN.replace('URL: ', 'what\nURL: '),
    'an empty line': WRITTEN.replace('URL: ', '\nURL: '),
    'a value that begins on the next line': WRITTEN.replace('Compression: xz', 'Compression:'),
    'another store folder': WRITTEN.replace('/nix/store/', '/nix/store/../store/'),
    'a reference that leaves the store folder': WRITTEN.replace(GLIBC, `${GLIBC}/../../etc`),
    'a size beyond exact numbers': WRITTEN.replace('226488', '9007199254740993'),
    'a size in another notation': WRITTEN.replace('226488', '0x10'),
    'a size with a space': WRITTEN.replace('226488', '226488 '),
    'bytes that are no UTF-8': Buffer.from([...Buffer.from(WRITTEN), 0x58, 0x3a, 0x20, 0xff, 0x0a]),
    'signatures without end': WRITTEN + Array.from({ length: 1001 }, (_, index) => `Sig: k:${index}\n`).join(''),
  };
  for (const [what, data] of Object.entries(refused)) {
    assert.throws(() => parseNarInfo(data, STORE_DIR), NixFormatError, what);
  }
});

test('parseNarInfo says which field is wrong and where it begins', () => {
  assert.throws(() => parseNarInfo(WRITTEN.replace('NarSize: 2', 'NarSize: x'), STORE_DIR), {
    format: 'narinfo',
    message: /NarSize.*"x26488"/,
    position: WRITTEN.indexOf('NarSize'),
  });
});

test('formatNarInfo refuses when a text would break its line', () => {
  const info = parseNarInfo(WRITTEN, STORE_DIR);
  const injected: Partial<NarInfo>[] = [
    { url: 'x\nSig: a:b' },
    { compression: 'xz\r' },
    { system: 'a\nb' },
    { signatures: ['a:b\nCA: x'] },
    { contentAddress: 'x\n' },
  ];
  for (const part of injected) assert.throws(() => formatNarInfo({ ...info, ...part }), NixFormatError);
});

test('narInfoFingerprint covers path, hash, size and sorted references when they come in any order', () => {
  const info = parseNarInfo(WRITTEN, STORE_DIR);
  const expected = `1;/nix/store/${HELLO};${NAR_HASH};226488;/nix/store/${GLIBC},/nix/store/${HELLO}`;
  assert.equal(narInfoFingerprint(info), expected);
  assert.equal(
    narInfoFingerprint({ ...info, references: [...info.references, ...info.references].toReversed() }),
    expected,
  );
  assert.equal(narInfoFingerprint({ ...info, references: [] }), `1;/nix/store/${HELLO};${NAR_HASH};226488;`);
  const hex = WRITTEN.replace(NAR_HASH, formatHash(info.narHash, 'base16'));
  assert.equal(narInfoFingerprint(parseNarInfo(hex, STORE_DIR)), expected);
});

test('parseNarInfo undoes formatNarInfo when its parts are any', () => {
  fc.assert(fc.property(anyNarInfo, (info) => assert.deepEqual(parseNarInfo(formatNarInfo(info), STORE_DIR), info)));
});

const hashPart = fc.array(fc.constantFrom(...BASE32_ALPHABET), { minLength: 32, maxLength: 32 });
const storePath = fc
  .tuple(hashPart, fc.stringMatching(/^[a-z0-9+_?=][a-zA-Z0-9+._?=-]{0,30}$/))
  .map(([digits, name]) => storePathFromBaseName(`${digits.join('')}-${name}`, STORE_DIR));
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((digest) => hashFromDigest('sha256', digest));
const size = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const lineText = fc.stringMatching(/^[!-~][ -~]{0,40}$/);

const anyNarInfo: fc.Arbitrary<NarInfo> = fc.record(
  {
    storePath,
    url: lineText,
    compression: lineText,
    fileHash: hash,
    fileSizeBytes: size,
    narHash: hash,
    narSizeBytes: size,
    references: fc.uniqueArray(storePath, { maxLength: 5 }),
    deriver: storePath,
    system: lineText,
    signatures: fc.uniqueArray(lineText, { maxLength: 3 }),
    contentAddress: hash.map((value) => `fixed:r:${value}`),
  },
  {
    requiredKeys: ['storePath', 'url', 'compression', 'narHash', 'narSizeBytes', 'references', 'signatures'],
    noNullPrototype: true,
  },
);

function read(text: string): NarInfo {
  return parseNarInfo(text, STORE_DIR);
}
