import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import { hashBytes, type StorePathBaseName } from '../nix/index.ts';
import { formatRealisationPath, type Realisation } from '../nix/realisation.ts';
import { WaitingRealisations } from './waiting-realisations.ts';

function named(name: string) {
  const key = { layout: 'realisations', derivationHash: hashBytes('sha256', name), outputName: 'out' } as const;
  const outPath = `${'a'.repeat(32)}-${name}` as StorePathBaseName;
  const realisation: Realisation = { key, outPath, signatures: [], dependencies: new Map() };
  return { name: formatRealisationPath(key), realisation };
}

test('WaitingRealisations lets the oldest go where all of them together are too large, and counts what is said twice once', () => {
  const waiting = new WaitingRealisations();
  const sizeBytes = LIMITS.proxyRealisationsBytes / 2;
  const [first, second, third] = ['first', 'second', 'third'].map(named);
  assert.ok(first !== undefined && second !== undefined && third !== undefined);
  for (const one of [first, second, first]) waiting.add({ ...one, sizeBytes });
  assert.equal(waiting.all().length, 2);
  waiting.add({ ...third, sizeBytes });
  assert.deepEqual(
    waiting.all().map(({ name }) => name),
    [first.name, third.name],
  );
  waiting.remove(first.name);
  waiting.add({ ...second, sizeBytes });
  assert.equal(waiting.all().length, 2);
});
