import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fakeStorePath, makeFakePath, narOfFile } from '../../test/support/fake-paths.ts';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { formatContentAddress, storePathOf } from '../nix/content-address.ts';
import { hashBytes } from '../nix/hash.ts';
import type { NarInfo } from '../nix/narinfo.ts';
import { generateSecretKey, publicKeyOf, signNarInfo } from '../nix/signature.ts';
import type { StorePath } from '../nix/store-path.ts';
import { contentAddressHolds } from './content-check.ts';
import { assessTrust } from './trust.ts';

const key = generateSecretKey('trusted-1');
const keys = [publicKeyOf(key)];
const { info } = await makeFakePath('hello');
const DIR = '/nix/store';

test('assessTrust trusts a path when a trusted key signed it', async () => {
  assert.deepEqual(await assessTrust(signNarInfo(info, key), keys), {
    trusted: true,
    by: 'signature',
    keyName: 'trusted-1',
  });
});

test('assessTrust trusts nothing else of an input-addressed path', async () => {
  const forged = signNarInfo(info, generateSecretKey('trusted-1'));
  const moved = { ...signNarInfo(info, key), references: [fakeStorePath('other')] };
  for (const [untrusted, reason] of [
    [info, /no signature/],
    [signNarInfo(info, generateSecretKey('other-1')), /signed by other-1/],
    [forged, /signed by trusted-1/],
    [moved, /no trusted key/],
    [{ ...info, contentAddress: `fixed:r:${info.narHash}` }, /content address does not prove it/],
    [{ ...info, contentAddress: 'fixed:git:sha1:whatever' }, /content address does not prove it/],
    [{ ...info, contentAddress: 'nonsense' }, /content address does not prove it/],
  ] as const) {
    const trust = await assessTrust(untrusted, keys);
    assert.ok(!trust.trusted);
    assert.match(trust.reason, reason);
  }
});

/** A path whose name is made from its contents, as Nix would have it. */
function addressed(
  nar: Buffer,
  address: Parameters<typeof storePathOf>[0],
  references: readonly StorePath[] = [],
): NarInfo {
  const storePath = storePathOf(address, 'source', references, false, DIR);
  assert.ok(storePath !== undefined);
  const hashes = { narHash: hashBytes('sha256', nar), narSizeBytes: nar.length };
  return { ...info, ...hashes, storePath, references, contentAddress: formatContentAddress(address) };
}

async function* whole(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

test('contentAddressHolds needs no NAR when NarHash is the address', async () => {
  const nar = await narOfFile(Buffer.from('contents'));
  const good = addressed(nar, { method: 'nar', hash: hashBytes('sha256', nar) });
  assert.equal(await contentAddressHolds(good), true);
  assert.equal(await contentAddressHolds({ ...good, narHash: hashBytes('sha256', 'other') }), false);
  assert.equal(await contentAddressHolds({ ...good, storePath: fakeStorePath('source') }), false);
  assert.equal(await contentAddressHolds({ ...good, references: [fakeStorePath('more')] }), false);
});

test('contentAddressHolds hashes the contents when the address is of the file or in another algorithm', async () => {
  const contents = Buffer.from('contents');
  const nar = await narOfFile(contents);
  const other = await narOfFile(Buffer.from('other contents'));
  const references = [fakeStorePath('a'), fakeStorePath('b')];
  const cases = [
    addressed(nar, { method: 'flat', hash: hashBytes('sha256', contents) }),
    addressed(nar, { method: 'flat', hash: hashBytes('sha512', contents) }),
    addressed(nar, { method: 'nar', hash: hashBytes('sha1', nar) }),
    addressed(nar, { method: 'text', hash: hashBytes('sha256', contents) }, references),
  ];
  for (const one of cases) {
    assert.equal(await contentAddressHolds(one, () => whole(nar)), true, one.contentAddress);
    assert.equal(await contentAddressHolds(one, () => whole(other)), false, one.contentAddress);
    assert.equal(await contentAddressHolds(one), false, one.contentAddress);
  }
});

test('contentAddressHolds refuses a flat address when the path is no plain file', async () => {
  const contents = Buffer.from('contents');
  const executable = await narOfFile(contents, true);
  const flat = addressed(executable, { method: 'flat', hash: hashBytes('sha256', contents) });
  assert.equal(await contentAddressHolds(flat, () => whole(executable)), false);
  assert.equal(await contentAddressHolds(flat, () => whole(Buffer.from('no NAR at all'))), false);
});

test('assessTrust reads the file that was taken in when the content address needs it', async () => {
  await using temp = await makeTempDir('trust');
  const contents = Buffer.from('contents');
  const path = await makeFakePath('x', { contents, compression: 'zstd' });
  const flat = { ...path.info, ...addressed(path.nar, { method: 'flat', hash: hashBytes('sha256', contents) }) };
  const narFile = temp.join('file');
  await writeFile(narFile, path.file);
  const { compression } = path.info;
  assert.deepEqual(await assessTrust({ ...flat, compression }, [], narFile), { trusted: true, by: 'content-address' });
});
