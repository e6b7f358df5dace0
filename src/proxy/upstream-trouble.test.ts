import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { HttpError } from '../base/http-client.ts';
import { explainTrouble } from './upstream-trouble.ts';

const URL = 'http://cache.lan/nix-cache-info';

test('explainTrouble calls an upstream down that is off or in trouble, and unusable what must be corrected', () => {
  const states = [
    new HttpError('host-down', URL, 'the host refuses connections'),
    new HttpError('stalled', URL, 'nothing came'),
    new HttpError('status', URL, 'the server answers 503', { status: 503 }),
    new HttpError('status', URL, 'the server answers 429', { status: 429 }),
    new DOMException('late', 'TimeoutError'),
    new HttpError('status', URL, 'the server answers 401', { status: 401 }),
    new HttpError('redirect', URL, 'leads in circles'),
    new NixferryError('upstream-unreachable', `${URL}: no binary cache, it has no nix-cache-info`),
    new NixferryError('store-dir-mismatch', `${URL}: its paths live in /gnu/store, not in /nix/store`),
  ].map((error) => explainTrouble(error).state);
  assert.deepEqual(states.join(' '), 'down down down down down unusable unusable unusable unusable');
});

test('explainTrouble says the reason without the address, and what to do next', () => {
  const error = new NixferryError('upstream-unreachable', 'file:///mnt/disk: there is no such folder', {
    hint: 'mount it',
  });
  assert.deepEqual(explainTrouble(error), { state: 'unusable', reason: 'there is no such folder', next: 'mount it' });
});
