// Every parser of text formats against damaged and hostile input: it reads, or it throws NixFormatError, and it does so soon.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { decodeBase32 } from './base32.ts';
import { decodeBase64 } from './base64.ts';
import { formatCacheInfo, parseCacheInfo } from './cache-info.ts';
import { formatContentAddress, parseContentAddress } from './content-address.ts';
import { formatDerivation, parseDerivation } from './derivation.ts';
import { derivationAttributes } from './derivation-attributes.ts';
import { fixedOutput } from './derivation-output.ts';
import { NixFormatError } from './format-error.ts';
import { formatHash, hashBytes, hashDigest, parseHash } from './hash.ts';
import { formatNarInfo, narInfoFingerprint, parseNarInfo } from './narinfo.ts';
import { formatRealisation, parseRealisation, parseRealisationPath } from './realisation.ts';
import {
  generateSecretKey,
  isWellFormedSignature,
  parsePublicKey,
  parseSecretKey,
  publicKeyOf,
  signNarInfo,
  verifySignature,
} from './signature.ts';
import { baseNameOf, hashPartOf, isHashPart, nameOf, parseStorePath, storePathFromBaseName } from './store-path.ts';
import { makeFixedOutputPath, makeTextPath } from './store-path-kinds.ts';

interface Parser {
  /** Sound data, from which damaged data is made. */
  readonly sound: string;
  /** Reads data, and uses what it has read in every way that this folder offers. */
  readonly read: (data: Buffer) => void;
}

const STORE_DIR = '/nix/store';
const HASH = hashBytes('sha256', 'x');
const PATH = makeFixedOutputPath('flat', HASH, 'x', STORE_DIR);
const DRV = baseNameOf(makeTextPath('x.drv', HASH, [PATH], STORE_DIR));
const SECRET = generateSecretKey('key-1', Buffer.alloc(32, 1));
const PUBLIC = publicKeyOf(SECRET);
const SOUND_NARINFO = formatNarInfo(
  signNarInfo(
    {
      storePath: PATH,
      url: 'nar/x.nar.xz',
      compression: 'xz',
      fileHash: HASH,
      fileSizeBytes: 10,
      narHash: HASH,
      narSizeBytes: 100,
      references: [PATH],
      deriver: storePathFromBaseName(DRV, STORE_DIR),
      system: 'x86_64-linux',
      signatures: [],
      contentAddress: `fixed:${HASH}`,
    },
    SECRET,
  ),
);
const [SOUND_SIGNATURE = ''] = parseNarInfo(SOUND_NARINFO, STORE_DIR).signatures;
const DIGEST = formatHash(HASH, 'base16', { prefix: false });
const TRACED = { layout: 'build-trace-v2', derivation: DRV, outputName: 'out' } as const;
const HASHED = { layout: 'realisations', derivationHash: HASH, outputName: 'out' } as const;
const HASHED_ID = `sha256:${DIGEST}!out`;

const PARSERS: Readonly<Record<string, Parser>> = {
  narinfo: {
    sound: SOUND_NARINFO,
    read: (data) => {
      const info = parseNarInfo(data, STORE_DIR);
      narInfoFingerprint(info);
      assert.deepEqual(parseNarInfo(formatNarInfo(info), STORE_DIR), info);
      for (const signature of info.signatures) verifySignature(signature, '', [PUBLIC]);
    },
  },
  derivation: {
    sound: `DrvWithVersion("xp-dyn-drv",[("out","${PATH}","sha256","${DIGEST}")],[("/nix/store/${DRV}",(["out"],[("x",["y"])]))],["${PATH}"],"s","b",["a\\n\\"b"],[("__json","{\\"a\\":[1,null]}"),("k","v")])`,
    read: (data) => {
      const derivation = parseDerivation(data);
      for (const output of derivation.outputs.values()) fixedOutput(output);
      const written = formatDerivation(derivation);
      assert.deepEqual(formatDerivation(parseDerivation(written)), written);
      derivationAttributes(derivation);
    },
  },
  'realisation by hash': {
    sound: `{"dependentRealisations":{"${HASHED_ID}":"${DRV}"},"id":"${HASHED_ID}","outPath":"${DRV}","signatures":["${SOUND_SIGNATURE}",{"keyName":"a","sig":"b"}]}`,
    read: (data) => {
      const realisation = parseRealisation(data, HASHED);
      assert.deepEqual(parseRealisation(formatRealisation(realisation), HASHED), realisation);
    },
  },
  'realisation by path': {
    sound: `{"outPath":"${DRV}","signatures":[{"keyName":"a","sig":"b"}]}`,
    read: (data) => {
      const realisation = parseRealisation(data, TRACED);
      assert.equal(
        formatRealisation(parseRealisation(formatRealisation(realisation), TRACED)),
        formatRealisation(realisation),
      );
    },
  },
  'name of a realisation': {
    sound: `build-trace-v2/${DRV}/out.doi`,
    read: (data) => parseRealisationPath(data.toString()),
  },
  'nix-cache-info': {
    sound: 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n',
    read: (data) => {
      const info = parseCacheInfo(data);
      assert.deepEqual(parseCacheInfo(formatCacheInfo(info)), info);
    },
  },
  hash: {
    sound: formatHash(HASH, 'sri'),
    read: (data) => {
      const hash = parseHash(data.toString('latin1'));
      for (const encoding of ['nix32', 'base16', 'base64', 'sri'] as const)
        assert.equal(parseHash(formatHash(hash, encoding)), hash);
      hashDigest(hash);
    },
  },
  'bare hash': { sound: DIGEST, read: (data) => hashDigest(parseHash(data.toString('latin1'), 'sha256')) },
  'store path': {
    sound: PATH,
    read: (data) => {
      const path = parseStorePath(data.toString(), STORE_DIR);
      assert.ok(isHashPart(hashPartOf(path)));
      assert.equal(`${STORE_DIR}/${hashPartOf(path)}-${nameOf(path)}`, path);
      assert.equal(path.slice(STORE_DIR.length + 1).includes('/'), false);
    },
  },
  'content address': {
    sound: `fixed:r:${HASH}`,
    read: (data) => {
      const address = parseContentAddress(data.toString());
      assert.deepEqual(parseContentAddress(formatContentAddress(address)), address);
    },
  },
  'public key': { sound: `key-1:${PUBLIC.bytes.toString('base64')}`, read: (data) => parsePublicKey(data.toString()) },
  'secret key': {
    sound: `key-1:${SECRET.secretBytes.toString('base64')}`,
    read: (data) => parseSecretKey(data.toString()),
  },
  signature: {
    sound: SOUND_SIGNATURE,
    read: (data) => {
      const signature = data.toString();
      const accepted = verifySignature(signature, 'another message', [PUBLIC]);
      assert.equal(accepted, false);
      isWellFormedSignature(signature);
    },
  },
  nix32: { sound: HASH.slice('sha256:'.length), read: (data) => decodeBase32(data.toString('latin1')) },
  base64: { sound: PUBLIC.bytes.toString('base64'), read: (data) => decodeBase64(data.toString('latin1')) },
};

const LARGE_BYTES = 512 * 1024;
/** For input that takes a few dozen milliseconds when time grows with size, and minutes when it grows with its square. */
const SOON_MS = 3000;

for (const [name, { sound, read }] of Object.entries(PARSERS)) {
  test(`the parser of ${name} reads or refuses, and nothing else, when bytes are changed`, () => {
    read(Buffer.from(sound));
    fc.assert(
      fc.property(damaged(Buffer.from(sound)), (data) => {
        readOrRefuse(read, data);
      }),
      { numRuns: 300 },
    );
  });

  test(`the parser of ${name} ends soon when input is large and made to cost time`, () => {
    const pieces = [
      sound,
      `${sound}\n`,
      '\n',
      ':',
      ' ',
      '\\',
      '\\"',
      '"',
      '[',
      '(',
      '([],[("a",',
      '{"a":',
      'Sig: k:1\n',
      'A',
      '0',
      '=',
      '\u00ff',
      '-',
      '/',
    ];
    for (const piece of pieces) {
      const filler = Buffer.alloc(LARGE_BYTES, piece);
      const half = Math.floor(sound.length / 2);
      for (const data of [
        filler,
        Buffer.concat([Buffer.from(sound.slice(0, half)), filler, Buffer.from(sound.slice(half))]),
      ]) {
        const startMs = performance.now();
        readOrRefuse(read, data);
        assert.ok(performance.now() - startMs < SOON_MS, `${JSON.stringify(piece.slice(0, 20))} took too long`);
      }
    }
  });
}

function readOrRefuse(read: (data: Buffer) => void, data: Buffer): void {
  try {
    read(data);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    assert.ok(error.message.length < 2000, 'a message stays short');
  }
}

/** Sound data with one to four changes: a byte replaced, a stretch removed, doubled, or put in from elsewhere. */
function damaged(sound: Buffer): fc.Arbitrary<Buffer> {
  const offset = fc.nat({ max: sound.length });
  const inserted = fc.oneof(
    fc.uint8Array({ maxLength: 4 }),
    fc.constantFrom(
      ...['\n', '\r', '\0', ':', ' ', '"', '\\', ',', '(', ')', '[', ']', '=', '/', '..', '-', '0'].map((text) =>
        Buffer.from(text),
      ),
    ),
  );
  const change = fc.record({ start: offset, length: fc.nat({ max: 12 }), from: offset, inserted, copy: fc.boolean() });
  return fc.array(change, { minLength: 1, maxLength: 4 }).map((changes) => {
    let data = sound;
    for (const { start, length, from, inserted: bytes, copy } of changes) {
      const put = copy ? sound.subarray(from, from + length) : bytes;
      data = Buffer.concat([data.subarray(0, start), put, data.subarray(start + (copy ? 0 : length % 4))]);
    }
    return data;
  });
}
