import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { forge, makeTestShipment } from '../../../test/support/shipments.ts';
import { generateSecretKey, publicKeyOf } from '../../nix/index.ts';
import { fingerprintWords } from '../fingerprint-words.ts';
import { readShipment } from '../read-shipment.ts';
import { signatureWords } from './show-words.ts';
import { signatureState } from './signature-state.ts';

test('signatureState is verified when the named sender is trusted and has signed', async () => {
  await using made = await makeTestShipment();
  const state = signatureState(await readShipment([made.folder]), [made.sender.publicKey]);
  assert.deepEqual(state, {
    kind: 'verified',
    key: made.sender.publicKey,
    words: fingerprintWords(made.sender.publicKey),
  });
});

test('signatureState names the key and its words when nobody is trusted', async () => {
  await using made = await makeTestShipment();
  const stranger = publicKeyOf(generateSecretKey('stranger-1'));
  const state = signatureState(await readShipment([made.folder]), [stranger]);
  assert.equal(state.kind, 'unknown-sender');
  assert.deepEqual(state.kind === 'unknown-sender' && state.words, fingerprintWords(made.sender.publicKey));
});

test('signatureState says so when another key of that name is trusted', async () => {
  await using made = await makeTestShipment();
  const namesake = publicKeyOf(generateSecretKey(made.sender.publicKey.name));
  const state = signatureState(await readShipment([made.folder]), [namesake]);
  assert.equal(state.kind, 'other-key');
  assert.deepEqual(state.kind === 'other-key' && state.trusted, namesake);
});

test('signatureState is broken when a trusted key signed in the name of another, and when the signature is gone', async () => {
  await using made = await makeTestShipment();
  const other = generateSecretKey('other-1');
  await forge(made, { key: other });
  const trusted = [made.sender.publicKey, publicKeyOf(other)];
  assert.equal(signatureState(await readShipment([made.folder]), trusted).kind, 'broken');
  await rm(join(made.folder, 'manifest.sig'));
  assert.equal(signatureState(await readShipment([made.folder]), trusted).kind, 'broken');
});

function commandFor(keyName: string, folder: string): string | undefined {
  const key = publicKeyOf(generateSecretKey(keyName));
  return signatureWords({ kind: 'unknown-sender', key, words: fingerprintWords(key) }, folder).advice?.command;
}

test('signatureWords offers no command to paste when the name of the key is more than a word to a shell', () => {
  assert.equal(commandFor("x';reboot;'", '/m'), undefined);
  assert.equal(commandFor('$(reboot)', '/m'), undefined);
  assert.match(
    commandFor('office-1', "/my stick's") ?? '',
    /^nixferry show '\/my stick'\\''s' --trust office-1:[\w+/]+=$/,
  );
});
