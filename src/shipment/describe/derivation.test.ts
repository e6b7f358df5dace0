import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  baseNameOf,
  DEFAULT_STORE_DIR,
  type Derivation,
  formatDerivation,
  hashBytes,
  hashDigest,
  makeFixedOutputPath,
  makeOutputPath,
  makeTextPath,
  type StorePath,
} from '../../nix/index.ts';
import { type DerivationSource, derivationsOfStore, findDerivation, provenDerivation } from './derivation-source.ts';
import { DerivationKnowledge } from './output-facts.ts';

const STORE = DEFAULT_STORE_DIR;
const FILE_HASH = hashBytes('sha256', 'the tarball');
const NONE = { names: ['out'], dynamic: new Map() };

interface Made {
  readonly path: StorePath;
  readonly bytes: Buffer;
  readonly out: StorePath;
}

function makeDerivation(name: string, out: StorePath, changes: Partial<Derivation>): Made {
  const derivation: Derivation = {
    outputs: new Map([['out', { path: out, hashAlgorithm: '', hash: '' }]]),
    inputDerivations: new Map(),
    inputSources: [],
    system: 'x86_64-linux',
    builder: '/bin/sh',
    args: [],
    env: new Map(),
    encoding: 'utf8',
    ...changes,
  };
  const bytes = formatDerivation(derivation);
  const references = [...derivation.inputSources, ...derivation.inputDerivations.keys()];
  return { path: makeTextPath(`${name}.drv`, hashBytes('sha256', bytes), references, STORE), bytes, out };
}

function makeSource(urls: string): Made {
  const out = makeFixedOutputPath('flat', FILE_HASH, 'hello-2.12.tar.gz', STORE);
  const hash = hashDigest(FILE_HASH).toString('hex');
  return makeDerivation('hello-2.12.tar.gz', out, {
    outputs: new Map([['out', { path: out, hashAlgorithm: 'sha256', hash }]]),
    env: new Map([['urls', urls]]),
  });
}

function makeHello(source: Made, env: Record<string, string> = {}): Made {
  const out = makeOutputPath('out', hashBytes('sha256', 'hello'), 'hello-2.12', STORE);
  return makeDerivation('hello-2.12', out, {
    inputDerivations: new Map([[source.path, NONE]]),
    env: new Map(Object.entries({ src: source.out, pname: 'hello', version: '2.12', ...env })),
  });
}

const garbage: DerivationSource = async () => Buffer.from('Derive(');

function sourceOf(...made: Made[]): DerivationSource {
  return async (path) => made.find((one) => one.path === path)?.bytes;
}

test('factsOf tells package, version and where the source is fetched from when both derivations are there', async () => {
  const source = makeSource('mirror://gnu/hello-2.12.tar.gz https://example.org/hello.tar.gz');
  const hello = makeHello(source);
  const knowledge = new DerivationKnowledge([sourceOf(hello, source)]);
  assert.deepEqual(await knowledge.factsOf(hello.out, hello.path), {
    packageName: 'hello',
    version: '2.12',
    licences: [],
    fileHash: undefined,
    urls: [],
    sourceUrls: ['mirror://gnu/hello-2.12.tar.gz', 'https://example.org/hello.tar.gz'],
  });
  const facts = await knowledge.factsOf(source.out, source.path);
  assert.deepEqual(facts?.urls, ['mirror://gnu/hello-2.12.tar.gz', 'https://example.org/hello.tar.gz']);
  assert.deepEqual(facts?.fileHash, { algorithm: 'sha256', hex: hashDigest(FILE_HASH).toString('hex') });
});

test('factsOf tells nothing when the deriver does not name the path as its output', async () => {
  const source = makeSource('https://example.org/x');
  const hello = makeHello(source);
  const knowledge = new DerivationKnowledge([sourceOf(hello, source)]);
  assert.equal(await knowledge.factsOf(source.out, hello.path), undefined);
  assert.equal(await new DerivationKnowledge([]).factsOf(hello.out, hello.path), undefined);
});

test('factsOf takes licences from structured attributes and from the environment, and addresses only if they are some', async () => {
  const source = makeSource('javascript:alert(1)"<b> https://ok.example/a?b=c ftp://"quoted"');
  const meta = { license: [{ spdxId: 'MIT', fullName: 'MIT License' }, { fullName: 'Own Licence' }], broken: null };
  const hello = makeHello(source, { __json: JSON.stringify({ meta, src: source.out }), license: 'GPL-3.0-or-later' });
  const facts = await new DerivationKnowledge([sourceOf(hello, source)]).factsOf(hello.out, hello.path);
  assert.deepEqual(facts?.licences, ['GPL-3.0-or-later', 'MIT', 'Own Licence']);
  assert.deepEqual(facts?.sourceUrls, ['https://ok.example/a?b=c']);
});

test('findDerivation passes over bytes that do not hash to the path, and takes the next source', async () => {
  const source = makeSource('https://example.org/x');
  const forged: DerivationSource = async () => makeSource('https://evil.example/x').bytes;
  assert.equal(await findDerivation(source.path, [forged, garbage]), undefined);
  assert.notEqual(await findDerivation(source.path, [forged, garbage, sourceOf(source)]), undefined);
  assert.equal(provenDerivation(source.path, source.bytes.subarray(0, -1)), undefined);
});

test('derivationsOfStore reads plain files of that store only', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-store-'));
  try {
    const name = `${'0'.repeat(32)}-a.drv`;
    await writeFile(join(folder, name), 'Derive');
    await symlink('/dev/zero', join(folder, `${'1'.repeat(32)}-b.drv`));
    const read = derivationsOfStore(folder);
    assert.equal((await read(`${folder}/${name}` as StorePath))?.toString(), 'Derive');
    assert.equal(await read(`${folder}/${'1'.repeat(32)}-b.drv` as StorePath), undefined);
    assert.equal(await read(`${folder}/${'2'.repeat(32)}-c.drv` as StorePath), undefined);
    assert.equal(await read(`/nix/store/${baseNameOf(`${folder}/${name}` as StorePath)}` as StorePath), undefined);
  } finally {
    await rm(folder, { recursive: true });
  }
});
