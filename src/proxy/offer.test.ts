import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeFakePath } from '../../test/support/fake-paths.ts';
import { makeFixedOutputPath } from '../nix/index.ts';
import { parseNarInfo } from '../nix/narinfo.ts';
import { generateSecretKey, publicKeyOf, signNarInfo, trustedSignature } from '../nix/signature.ts';
import { findObjection, makeOffer, offeredNarName } from './offer.ts';

const theirs = generateSecretKey('theirs-1', Buffer.alloc(32, 1));
const ours = generateSecretKey('ours-1', Buffer.alloc(32, 2));
const terms = { trustedKeys: [publicKeyOf(theirs)], signingKeys: [ours] };

test('findObjection takes what a trusted key signed and what its content address names, and nothing else', async () => {
  const { info } = await makeFakePath('thing');
  const signed = signNarInfo(info, theirs);
  assert.equal(findObjection(signed, terms), undefined);
  assert.match(findObjection(info, terms) ?? '', /unsigned/);
  assert.match(findObjection(signNarInfo(info, ours), terms) ?? '', /no trusted key signed it \(signed by ours-1\)/);
  assert.match(findObjection({ ...signed, narSizeBytes: info.narSizeBytes + 8 }, terms) ?? '', /does not hold/);
  const namesake = publicKeyOf(generateSecretKey(theirs.name));
  assert.match(findObjection(signed, { ...terms, trustedKeys: [namesake] }) ?? '', /another key than the one trusted/);
  assert.match(findObjection({ ...signed, compression: 'lzip' }, terms) ?? '', /lzip/);
  assert.match(findObjection({ ...signed, fileSizeBytes: 1e12 }, terms) ?? '', /FileSize/);
  const storePath = makeFixedOutputPath('nar', info.narHash, 'thing', '/nix/store');
  const addressed = { ...info, storePath, contentAddress: `fixed:r:${info.narHash}` };
  assert.equal(findObjection(addressed, terms), undefined);
  assert.match(findObjection({ ...info, contentAddress: `fixed:r:${info.narHash}` }, terms) ?? '', /unsigned/);
  assert.match(findObjection({ ...info, contentAddress: 'nonsense' }, terms) ?? '', /unsigned/);
});

test('makeOffer keeps upstream signatures, adds ours only to what is signed, and drops what newer Nix cannot read', async () => {
  const { info } = await makeFakePath('thing');
  const signed = signNarInfo(info, theirs);
  const told = (offered: Parameters<typeof makeOffer>[0], signingKeys: readonly (typeof ours)[]) =>
    parseNarInfo(makeOffer(offered, 'http://up', { ...terms, signingKeys }).text, '/nix/store');
  const both = told({ ...signed, signatures: [...signed.signatures, 'broken'] }, [ours]);
  assert.deepEqual(
    both.signatures.map((signature) => signature.split(':')[0]),
    ['ours-1', 'theirs-1'],
  );
  assert.notEqual(trustedSignature(both, [publicKeyOf(ours)]), undefined);
  assert.deepEqual(told(signed, []).signatures, signed.signatures);
  assert.deepEqual(told(info, [ours]).signatures, []);
});

test('offeredNarName is the name in the mirror where FileHash is stated, else one with the path and the contents', async () => {
  const { info } = await makeFakePath('thing');
  assert.match(offeredNarName(info), /^nar\/[0-9a-z]{52}\.nar\.xz$/);
  const { fileHash: stated, ...unstated } = info;
  assert.ok(stated !== undefined);
  assert.match(offeredNarName(unstated), /^nar\/[0-9a-z]{32}-[0-9a-z]{52}\.nar\.xz$/);
});
