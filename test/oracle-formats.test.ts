// Real Nix as the oracle for hashes, store paths and keys: what it computes we compute, what it refuses we refuse.

import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { storePathOf } from '../src/nix/content-address.ts';
import { NixFormatError } from '../src/nix/format-error.ts';
import { formatHash, type HashAlgorithm, type HashEncoding, hashBytes, parseHash } from '../src/nix/hash.ts';
import { formatPublicKey, formatSecretKey, parseSecretKey, publicKeyOf } from '../src/nix/signature.ts';
import { nameOf, parseStorePath } from '../src/nix/store-path.ts';
import { makeFixedOutputPath, makeSourcePath, makeTextPath } from '../src/nix/store-path-kinds.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';

const ALGORITHMS: readonly HashAlgorithm[] = ['md5', 'sha1', 'sha256', 'sha512'];
const DIGEST = hashBytes('sha256', 'oracle');

let nix: NixEnvironment;
before(async () => {
  nix = await createNixEnvironment();
});
after(() => nix[Symbol.asyncDispose]());

test('formatHash and parseHash agree with nix hash when it converts between all spellings', async () => {
  const commands: readonly [string, HashEncoding][] = [
    ['to-base16', 'base16'],
    ['to-base32', 'nix32'],
    ['to-base64', 'base64'],
    ['to-sri', 'sri'],
  ];
  const hashes = ALGORITHMS.flatMap((algorithm) => ['', 'a', 'hello\n'].map((text) => hashBytes(algorithm, text)));
  const encodings = commands.map(([, encoding]) => encoding);
  for (const [command, encoding] of commands) {
    const spellings = hashes.flatMap((hash) => encodings.map((from) => formatHash(hash, from)));
    const converted = await nix.lines('nix', ['hash', command, ...spellings]);
    assert.deepEqual(
      converted,
      hashes.flatMap((hash) => encodings.map(() => formatHash(hash, encoding, { prefix: false }))),
    );
    for (const [index, spelling] of spellings.entries()) assert.equal(parseHash(spelling), hashes[index >> 2]);
  }
});

test('hashBytes gives the hashes of builtins.hashString when texts and algorithms vary', async () => {
  const texts = ['', 'abc', 'zwölf', 'x'.repeat(1000)];
  const expression = `map (a: map (builtins.hashString a) (builtins.fromJSON ''${JSON.stringify(texts)}'')) [ ${ALGORITHMS.map((a) => `"${a}"`).join(' ')} ]`;
  assert.deepEqual(
    await evaluate(expression),
    ALGORITHMS.map((algorithm) =>
      texts.map((text) => formatHash(hashBytes(algorithm, text), 'base16', { prefix: false })),
    ),
  );
});

test('parseHash refuses a spelling when nix hash refuses it', async () => {
  const good = formatHash(DIGEST, 'nix32', { prefix: false });
  const bad = [
    good,
    `sha256:${good.slice(1)}`,
    `sha256:z${good.slice(1)}`,
    `sha256:${good.slice(0, -1)}e`,
    `sha256:${good.toUpperCase()}`,
    `sha1:${good}`,
    `sha3:${good}`,
    `sha256-${good}`,
    `sha256:${'g'.repeat(64)}`,
    `sha256:${'*'.repeat(44)}`,
    'sha256-AAAA',
    'sha256:',
    '',
  ];
  await Promise.all(
    bad.map(async (spelling) => {
      const { exitCode } = await nix.run('nix', ['hash', 'to-base16', '--', spelling], { exitCode: 'any' });
      assert.notEqual(exitCode, 0, `nix takes ${spelling}`);
    }),
  );
  for (const spelling of bad) assert.throws(() => parseHash(spelling), NixFormatError, spelling);
});

for (const storeDir of ['/nix/store', '/nix/other/place']) {
  test(`the store paths that Nix evaluates are ours when the store folder is ${storeDir}`, async () => {
    const folder = path.join(nix.directory, 'sources');
    await mkdir(folder, { recursive: true });
    await writeFile(path.join(folder, 'file.txt'), 'flat contents');
    const paths = (await evaluate(storePathExpression(folder), { NIX_STORE_DIR: storeDir })) as EvaluatedPaths;

    const text = makeTextPath('plain.txt', hashBytes('sha256', 'plain'), [], storeDir);
    assert.equal(paths.text, text);
    // Given in the wrong order and twice: Nix keeps references as a sorted set.
    const references = [paths.flat, text, paths.flat].map((reference) => parseStorePath(reference, storeDir));
    assert.equal(
      paths.textReferring,
      makeTextPath('refers', hashBytes('sha256', `${text} ${paths.flat}`), references, storeDir),
    );
    assert.equal(paths.flat, makeFixedOutputPath('flat', hashBytes('sha256', 'flat contents'), 'flat-file', storeDir));
    const narHash = parseHash(paths.folderHash, 'sha256');
    assert.equal(paths.folder, makeSourcePath('sources', narHash, storeDir));
    assert.equal(
      storePathOf(
        { method: 'nar', hash: narHash },
        nameOf(parseStorePath(paths.folder, storeDir)),
        [],
        false,
        storeDir,
      ),
      paths.folder,
    );

    for (const algorithm of ALGORITHMS) {
      const hash = hashBytes(algorithm, 'oracle');
      assert.equal(paths.fixed[`${algorithm}-flat`], makeFixedOutputPath('flat', hash, 'fixed-1.0', storeDir));
      assert.equal(paths.fixed[`${algorithm}-recursive`], makeFixedOutputPath('nar', hash, 'fixed-1.0', storeDir));
    }
  });
}

test('makeFixedOutputPath names what nix-store --add-fixed adds when methods and algorithms vary', async () => {
  const file = path.join(nix.directory, 'added.bin');
  await writeFile(file, 'to be added');
  await Promise.all(
    ALGORITHMS.map(async (algorithm) => {
      const hash = hashBytes(algorithm, 'to be added');
      const [added] = await nix.lines('nix-store', ['--add-fixed', algorithm, file]);
      assert.equal(added, makeFixedOutputPath('flat', hash, 'added.bin', '/nix/store'));
      const [narAdded = ''] = await nix.lines('nix-store', ['--add-fixed', '--recursive', algorithm, file]);
      const [narDigest = ''] = await nix.lines('nix-hash', ['--type', algorithm, file]);
      assert.equal(narAdded, makeFixedOutputPath('nar', parseHash(narDigest, algorithm), 'added.bin', '/nix/store'));
    }),
  );
});

test('makeFixedOutputPath refuses a name when Nix refuses it', async () => {
  const digest = formatHash(DIGEST, 'base16', { prefix: false });
  const names = [
    '',
    'a b',
    'a/b',
    'zwölf',
    'a\nb',
    'a~',
    'a:b',
    'a*',
    'a,b',
    'a@b',
    'x'.repeat(212),
    'x'.repeat(211),
    '.a',
    '..a',
    '...-a',
    '+-._?=',
    '0',
  ];
  await Promise.all(
    names.map(async (name) => {
      const result = await nix.run('nix-store', ['--print-fixed-path', 'sha256', digest, name], { exitCode: 'any' });
      const compute = (): string => makeFixedOutputPath('flat', DIGEST, name, '/nix/store');
      if (result.exitCode === 0) assert.equal(compute(), result.stdout.trim());
      else assert.throws(compute, NixFormatError, `Nix refuses ${JSON.stringify(name)}: ${result.stderr}`);
    }),
  );
});

test('parseSecretKey and publicKeyOf agree with nix key when it generates and converts', async () => {
  const secret = (await nix.run('nix', ['key', 'generate-secret', '--key-name', 'oracle.example-1'])).stdout;
  const converted = (await nix.run('nix', ['key', 'convert-secret-to-public'], { input: secret })).stdout;
  const key = parseSecretKey(secret);
  assert.equal(formatSecretKey(key), secret.trim());
  assert.equal(formatPublicKey(publicKeyOf(key)), converted.trim());

  const [secretFile, publicFile] = [path.join(nix.directory, 'k.secret'), path.join(nix.directory, 'k.public')];
  await nix.run('nix-store', ['--generate-binary-cache-key', 'k', secretFile, publicFile]);
  const older = parseSecretKey(await readFile(secretFile, 'utf8'));
  assert.equal(formatPublicKey(publicKeyOf(older)), (await readFile(publicFile, 'utf8')).trim());
});

interface EvaluatedPaths {
  readonly text: string;
  readonly textReferring: string;
  readonly flat: string;
  readonly folder: string;
  readonly folderHash: string;
  readonly fixed: Readonly<Record<string, string>>;
}

function storePathExpression(folder: string): string {
  const fixed = ALGORITHMS.flatMap((algorithm) =>
    ['flat', 'recursive'].map((mode) => {
      const hash = formatHash(hashBytes(algorithm, 'oracle'), 'nix32', { prefix: false });
      return `"${algorithm}-${mode}" = fixed "${algorithm}" "${mode}" "${hash}";`;
    }),
  );
  return `
    let
      text = builtins.toFile "plain.txt" "plain";
      flat = builtins.path { path = ${folder}/file.txt; name = "flat-file"; recursive = false; };
      folder = builtins.path { path = ${folder}; name = "sources"; };
      fixed = outputHashAlgo: outputHashMode: outputHash: (derivation {
        name = "fixed-1.0"; system = "x"; builder = "/x"; inherit outputHashAlgo outputHashMode outputHash;
      }).outPath;
    in {
      inherit text flat folder;
      textReferring = builtins.toFile "refers" "\${text} \${flat}";
      folderHash = (builtins.fetchTree { type = "path"; path = "${folder}"; }).narHash;
      fixed = { ${fixed.join(' ')} };
    }`;
}

async function evaluate(expression: string, env: Record<string, string> = {}): Promise<unknown> {
  const args = ['--eval', '--strict', '--json', '--read-write-mode', '--expr', expression];
  return JSON.parse((await nix.run('nix-instantiate', args, { env: { ...nix.env, ...env } })).stdout);
}
