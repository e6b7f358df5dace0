// Real Nix as the oracle for narinfos and their signatures: what it writes we print alike, what it reads we read, what it
// calls corrupt we refuse, and each side's signatures hold on the other.

import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { formatCacheInfo, parseCacheInfo } from '../src/nix/cache-info.ts';
import { contentAddressNamesPath, formatContentAddress, parseContentAddress } from '../src/nix/content-address.ts';
import { NixFormatError } from '../src/nix/format-error.ts';
import { formatHash } from '../src/nix/hash.ts';
import { formatNarInfo, type NarInfo, narInfoFingerprint, parseNarInfo } from '../src/nix/narinfo.ts';
import {
  formatPublicKey,
  formatSecretKey,
  generateSecretKey,
  type PublicKey,
  parsePublicKey,
  parseSecretKey,
  publicKeyOf,
  type SecretKey,
  signNarInfo,
  signText,
  trustedSignature,
} from '../src/nix/signature.ts';
import { hashPartOf } from '../src/nix/store-path.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';

const STORE_DIR = '/nix/store';

let nix: NixEnvironment;
let cache: string;
let secret: SecretKey;
let publicKey: PublicKey;
/** Signed some paths before they were copied, as a builder does. */
let builderSecret: SecretKey;
/** Every narinfo that Nix wrote, by file name. */
const written = new Map<string, string>();

before(async () => {
  nix = await createNixEnvironment();
  cache = path.join(nix.directory, 'cache');
  const [secretFile, publicFile] = [path.join(nix.directory, 'key.secret'), path.join(nix.directory, 'key.public')];
  await nix.run('nix-store', ['--generate-binary-cache-key', 'oracle-1', secretFile, publicFile]);
  secret = parseSecretKey(await readFile(secretFile, 'utf8'));
  publicKey = parsePublicKey(await readFile(publicFile, 'utf8'));
  const outputs = await nix.build(PATHS);
  builderSecret = generateSecretKey('builder-1');
  const builderFile = path.join(nix.directory, 'builder.secret');
  await writeFile(builderFile, formatSecretKey(builderSecret), { mode: 0o600 });
  await nix.run('nix', ['store', 'sign', '--key-file', builderFile, ...outputs]);
  const added = path.join(nix.directory, 'added');
  await writeFile(added, 'added by its hash');
  const [fixed = ''] = await nix.lines('nix-store', ['--add-fixed', 'sha1', added]);
  await nix.run('nix', ['copy', '--to', `file://${cache}?secret-key=${secretFile}`, ...outputs, fixed]);
  await nix.run('nix', [
    'copy',
    '--derivation',
    '--to',
    `file://${cache}?secret-key=${secretFile}&compression=none`,
    ...outputs,
  ]);
  for (const file of await readdir(cache)) {
    if (file.endsWith('.narinfo')) written.set(file, await readFile(path.join(cache, file), 'utf8'));
  }
  assert.ok(written.size >= 8, `only ${written.size} narinfos to look at`);
});
after(() => nix[Symbol.asyncDispose]());

test('formatNarInfo gives back every byte when Nix wrote the narinfo', () => {
  const infos = [...written.values()].map(read);
  for (const [file, text] of written) {
    assert.equal(formatNarInfo(read(text)), text);
    assert.equal(`${hashPartOf(read(text).storePath)}.narinfo`, file);
  }
  assert.ok(
    infos.some((info) => info.references.includes(info.storePath)),
    'a reference to itself is among them',
  );
  assert.ok(
    infos.some((info) => info.references.length > 1),
    'several references are among them',
  );
  const methods = infos.flatMap(({ contentAddress }) =>
    contentAddress === undefined ? [] : [parseContentAddress(contentAddress).method],
  );
  assert.deepEqual(new Set(methods), new Set(['text', 'flat', 'nar']));
});

test('contentAddressNamesPath holds when Nix wrote the CA line, and breaks when the path is another', () => {
  for (const info of [...written.values()].map(read)) {
    if (info.contentAddress === undefined) continue;
    const address = parseContentAddress(info.contentAddress);
    assert.equal(formatContentAddress(address), info.contentAddress);
    assert.equal(contentAddressNamesPath(address, info.storePath, info.references), true, info.storePath);
    for (const other of [...written.values()].map(read)) {
      if (other.storePath !== info.storePath)
        assert.equal(contentAddressNamesPath(address, other.storePath, other.references), false);
    }
  }
});

test('trustedSignature accepts what Nix signed and signText gives the same bytes', () => {
  for (const info of [...written.values()].map(read)) {
    assert.equal(trustedSignature(info, [publicKey]), signText(secret, narInfoFingerprint(info)));
    assert.equal(trustedSignature({ ...info, narSizeBytes: info.narSizeBytes + 1 }, [publicKey]), undefined);
  }
});

test('signNarInfo gives the very narinfo that Nix writes when it signs what a builder had signed', () => {
  const infos = [...written.values()].map(read);
  const several = infos.filter(({ signatures }) => signatures.length > 1);
  assert.ok(several.length > 0);
  for (const info of infos) {
    const unsigned = { ...info, signatures: [] };
    const built = several.includes(info) ? signNarInfo(unsigned, builderSecret) : unsigned;
    assert.equal(formatNarInfo(signNarInfo(built, secret)), formatNarInfo(info));
    assert.equal(trustedSignature(info, [publicKeyOf(builderSecret)]) !== undefined, several.includes(info));
  }
});

test('nix store verify accepts what signNarInfo signed, and refuses it when a byte of the signature is changed', async () => {
  const ours = generateSecretKey('ours-1', Buffer.alloc(32, 7));
  const info = signNarInfo({ ...unaddressed(), signatures: [] }, ours);
  const verify = async (narInfo: NarInfo): Promise<number | null> => {
    await writeFile(path.join(cache, `${hashPartOf(info.storePath)}.narinfo`), formatNarInfo(narInfo));
    const keys = formatPublicKey(publicKeyOf(ours));
    const args = [
      'store',
      'verify',
      '--store',
      `file://${cache}`,
      '--no-contents',
      '--option',
      'trusted-public-keys',
      keys,
    ];
    return (await nix.run('nix', [...args, info.storePath], { exitCode: 'any' })).exitCode;
  };
  assert.equal(await verify(info), 0);
  const [signature = ''] = info.signatures;
  const at = 'ours-1:'.length + 10;
  const changed = `${signature.slice(0, at)}${signature[at] === 'A' ? 'B' : 'A'}${signature.slice(at + 1)}`;
  assert.notEqual(await verify({ ...info, signatures: [changed] }), 0);
  assert.equal(trustedSignature({ ...info, signatures: [changed] }, [publicKeyOf(ours)]), undefined);
});

test('parseNarInfo reads a narinfo when Nix reads it, and refuses it when Nix calls it corrupt', async () => {
  const info = unaddressed();
  const good = formatNarInfo(info);
  const field = (name: string, value: string): string =>
    good.replace(new RegExp(`^${name}: .*$`, 'm'), `${name}: ${value}`);
  const without = (name: string): string => good.replace(new RegExp(`^${name}: .*\n`, 'm'), '');
  const readable = {
    'as it is': good,
    'NarHash in base16': field('NarHash', formatHash(info.narHash, 'base16')),
    'NarHash in base64': field('NarHash', formatHash(info.narHash, 'base64')),
    'NarHash as SRI': field('NarHash', formatHash(info.narHash, 'sri')),
    'no FileHash and FileSize': without('FileHash').replace(/^FileSize: .*\n/m, ''),
    'no Compression': without('Compression'),
    'empty Compression': field('Compression', ''),
    'unknown deriver': field('Deriver', 'unknown-deriver'),
    'unknown fields': `X-New: a: b\n${good}x:  \n`,
    'no References': without('References'),
    'references parted by two spaces': good.replace(/^(References: \S+) /m, '$1  '),
    'another byte than a space after the colon': good.replace('URL: ', 'URL:\t'),
    'no Sig': without('Sig'),
    'a Sig that is none': `${good}Sig: what\n`,
    'an empty CA': `${good}CA: \n`,
    'a plus sign': field('NarSize', `+${info.narSizeBytes}`),
    'fields in another order': `${good.split('\n').slice(0, -1).toReversed().join('\n')}\n`,
  };
  const corrupt = {
    'no StorePath': without('StorePath'),
    'no URL': without('URL'),
    'empty URL': field('URL', ''),
    'no NarHash': without('NarHash'),
    'no NarSize': without('NarSize'),
    'NarSize 0': field('NarSize', '0'),
    'NarSize negative': field('NarSize', '-1'),
    'NarSize with a unit': field('NarSize', '12k'),
    'NarSize empty': field('NarSize', ''),
    'NarSize of more than 64 bits': field('NarSize', '99999999999999999999'),
    'FileSize no number': field('FileSize', 'x'),
    'NarHash without algorithm': field('NarHash', formatHash(info.narHash, 'nix32', { prefix: false })),
    'NarHash cut off': field('NarHash', formatHash(info.narHash, 'nix32').slice(0, -1)),
    'FileHash no hash': field('FileHash', 'sha256:xyz'),
    'last line break missing': good.slice(0, -1),
    'a last line without a colon': `${good}end\n`,
    'a value right after its colon': good.replace('References: ', 'References:'),
    'StorePath outside of the store': field('StorePath', info.storePath.replace('/nix/store', '/gnu/store')),
    'StorePath with a carriage return': field('StorePath', `${info.storePath}\r`),
    'references with folders': good.replace(/^References: /m, 'References: /nix/store/'),
    'References that are none': field('References', 'abc'),
    'second References': good.replace(/^(References: .*\n)/m, '$1$1'),
    'empty Deriver': field('Deriver', ''),
    'a CA that is none': `${good}CA: what\n`,
    'a CA with a cut-off hash': `${good}CA: fixed:r:sha256:abc\n`,
    'a text CA with sha1': `${good}CA: text:sha1:${'0'.repeat(40)}\n`,
    'two CAs': `${good}${`CA: ${formatContentAddress({ method: 'nar', hash: info.narHash })}\n`.repeat(2)}`,
    empty: '',
  };
  const file = path.join(cache, `${hashPartOf(info.storePath)}.narinfo`);
  const nixReads = async (text: string): Promise<boolean> => {
    await writeFile(file, text);
    const args = ['path-info', '--store', `file://${cache}`, info.storePath];
    return (await nix.run('nix', args, { exitCode: 'any' })).exitCode === 0;
  };
  for (const [what, text] of Object.entries(readable)) {
    assert.equal(await nixReads(text), true, `Nix reads ${what}`);
    assert.equal(parseNarInfo(text, STORE_DIR).storePath, info.storePath, what);
  }
  for (const [what, text] of Object.entries(corrupt)) {
    assert.equal(await nixReads(text), false, `Nix refuses ${what}`);
    assert.throws(() => parseNarInfo(text, STORE_DIR), NixFormatError, what);
  }
});

test('formatCacheInfo gives back what Nix wrote for a new cache', async () => {
  const text = await readFile(path.join(cache, 'nix-cache-info'), 'utf8');
  assert.equal(formatCacheInfo(parseCacheInfo(text)), text);
  assert.equal(parseCacheInfo(text).storeDir, STORE_DIR);
});

const PATHS = `
  let
    make = name: env: derivation ({ inherit name; system = builtins.currentSystem; builder = "/bin/sh"; } // env);
    leaf = make "leaf" { args = [ "-c" "echo leaf > $out" ]; };
    self = make "refers-to-itself" { args = [ "-c" "echo $out > $out" ]; };
    text = builtins.toFile "text.txt" "refers to \${builtins.toFile "other.txt" "other"}";
    source = builtins.path { path = builtins.toFile "x" "a source"; name = "source"; };
    fixed = make "fixed" {
      args = [ "-c" "printf fixed > $out" ]; outputHashAlgo = "sha256"; outputHashMode = "flat";
      outputHash = builtins.hashString "sha256" "fixed";
    };
  in [
    fixed
    (make "top" { args = [ "-c" "echo \${leaf} \${self} \${text} \${source} \${fixed} > $out" ]; })
  ]`;

function read(text: string): NarInfo {
  return parseNarInfo(text, STORE_DIR);
}

/** The path at the top: several references, and only a signature to vouch for it. */
function unaddressed(): NarInfo {
  const info = [...written.values()].map(read).find((candidate) => candidate.storePath.endsWith('-top'));
  assert.ok(info !== undefined);
  return info;
}
