import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { hashPartOfNarInfoName } from '../src/mirror/layout.ts';
import { openMirror } from '../src/mirror/mirror.ts';
import { intakeNar, withIntakenNar } from '../src/mirror/nar-intake.ts';
import { type PublishCandidate, publish } from '../src/mirror/publish.ts';
import { assessTrust } from '../src/mirror/trust.ts';
import { type NarInfo, parseNarInfo } from '../src/nix/narinfo.ts';
import { formatPublicKey } from '../src/nix/signature.ts';
import { DEFAULT_STORE_DIR } from '../src/nix/store-path.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';

// A chain, a path that names itself, a text with references, a flat and a recursive fixed output, an executable.
const EXPRESSION = `
  let
    make = name: script: derivation {
      inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
    };
    base = make "base" "echo base > $out";
    lib = make "lib" "echo \${base} > $out";
    itself = make "itself" "echo \${lib} $out $out > $out";
    text = builtins.toFile "text" "refers to \${builtins.toFile "leaf" "leaf"}";
    fixed = name: mode: algo: hash: derivation {
      inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo -n x > $out" ];
      outputHashMode = mode; outputHashAlgo = algo; outputHash = hash;
    };
    flat = fixed "flat" "flat" "sha1" (builtins.hashString "sha1" "x");
  in make "app" "echo \${itself} \${base} \${text} \${flat} > $out"
`;

let temp: TempDir;
let producer: NixEnvironment;
let app: string;

before(async () => {
  temp = await makeTempDir('oracle-mirror');
  producer = await createNixEnvironment({ shared: [temp.path] });
  [app = ''] = await producer.build(EXPRESSION);
});

after(async () => {
  await producer[Symbol.asyncDispose]();
  await temp[Symbol.asyncDispose]();
});

async function readCache(directory: string): Promise<NarInfo[]> {
  const names = (await readdir(directory)).filter((name) => hashPartOfNarInfoName(name) !== undefined);
  return Promise.all(names.map(async (name) => parseNarInfo(await readFile(join(directory, name)), DEFAULT_STORE_DIR)));
}

async function takeIn(cache: string, mirrorDirectory: string): Promise<{ infos: NarInfo[]; publicKey: string }> {
  await using mirror = await openMirror(mirrorDirectory, { access: 'write', create: true });
  const infos = await readCache(cache);
  const candidates = await Promise.all(
    infos.map(async (info): Promise<PublishCandidate> => {
      const open = async (start: number) => ({
        offset: start,
        stream: createReadStream(join(cache, info.url), { start }),
      });
      const nar = await intakeNar({ mirror, expected: info, open, what: info.storePath });
      return { info: withIntakenNar(info, nar), narFile: nar.file };
    }),
  );
  const { refused, published } = await publish(mirror, candidates);
  assert.deepEqual(refused, []);
  assert.equal(published.length, infos.length);
  return { infos, publicKey: formatPublicKey(mirror.publicKey) };
}

for (const compression of ['xz', 'zstd', 'bzip2', 'none']) {
  test(`real Nix copies a closure out of a published mirror over file:// when its NARs came as ${compression}`, async () => {
    const cache = temp.join(`cache-${compression}`);
    await producer.run('nix', ['copy', '--to', `file://${cache}?compression=${compression}`, app]);
    const mirror = temp.join(`mirror-${compression}`);
    const { infos, publicKey } = await takeIn(cache, mirror);
    assert.ok(infos.length >= 7);
    await using consumer = await createNixEnvironment({ shared: [temp.path], network: 'none' });
    const copy = (keys: string) => ['copy', '--from', `file://${mirror}`, '--option', 'trusted-public-keys', keys, app];
    const refused = await consumer.run('nix', copy(''), { exitCode: 'any' });
    assert.notEqual(refused.exitCode, 0);
    assert.match(refused.stderr, /lacks a valid signature|no signature/);
    await consumer.run('nix', copy(publicKey));
    await consumer.run('nix-store', ['--verify-path', app]);
    const closure = await consumer.lines('nix-store', ['--query', '--requisites', app]);
    assert.deepEqual(closure.toSorted(), infos.map(({ storePath }) => storePath as string).toSorted());
  });
}

test('assessTrust believes exactly those content addresses that real Nix made', async () => {
  const made = await producer.run('nix', ['store', 'make-content-addressed', '--json', app]);
  const { rewrites } = JSON.parse(made.stdout) as { rewrites: Record<string, string> };
  // Not executable: Nix takes such a file too, but nothing in a flat address says so, and here that needs a signature.
  const plain = temp.join('plain');
  const folder = temp.join('folder');
  await mkdir(folder);
  await writeFile(plain, 'plain', { mode: 0o644 });
  await writeFile(join(folder, 'program'), '#!/bin/sh\n', { mode: 0o755 });
  const added = [
    await producer.lines('nix-store', ['--add-fixed', 'sha256', plain]),
    await producer.lines('nix-store', ['--add-fixed', 'sha512', '--recursive', folder]),
    await producer.lines('nix-store', ['--add', folder]),
  ].flat();
  const cache = temp.join('cache-addressed');
  await producer.run('nix', ['copy', '--to', `file://${cache}`, app, ...Object.values(rewrites), ...added]);
  let believed = 0;
  for (const info of await readCache(cache)) {
    const trust = await assessTrust(info, [], join(cache, info.url));
    assert.equal(trust.trusted, info.contentAddress !== undefined, `${info.storePath} ${info.contentAddress}`);
    if (info.contentAddress === undefined) continue;
    believed += 1;
    // With one more reference the address is that of another path.
    const lie = { ...info, references: [...info.references, app as NarInfo['storePath']] };
    assert.equal((await assessTrust(lie, [], join(cache, info.url))).trusted, false);
  }
  assert.ok(believed >= 9, `only ${believed} content addresses`);
});
