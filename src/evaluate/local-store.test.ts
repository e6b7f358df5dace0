import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { parseRegistrations } from './local-store.ts';

const HASH = 'a'.repeat(32);
const OTHER = 'b'.repeat(32);

test('parseRegistrations reads paths with and without deriver and references', () => {
  const text = [
    `/nix/store/${HASH}-a`,
    '540881ec8591ddd1d23056ffb12d24b6a59c4aa1727f4c43ff05dae433544685',
    '160',
    `/nix/store/${OTHER}-a.drv`,
    '1',
    `/nix/store/${OTHER}-b`,
    `/nix/store/${OTHER}-b`,
    '00'.repeat(32),
    '96',
    '',
    '0',
    '',
  ].join('\n');
  const [a, b, ...rest] = parseRegistrations(text, '/nix/store');
  assert.deepEqual(rest, []);
  assert.equal(a?.narSizeBytes, 160);
  assert.equal(a?.deriver, `/nix/store/${OTHER}-a.drv`);
  assert.deepEqual(a?.references, [`/nix/store/${OTHER}-b`]);
  assert.equal(b?.deriver, undefined);
  assert.equal(b?.narHash, `sha256:${'0'.repeat(52)}`);
});

test('parseRegistrations refuses an answer that ends too early', () => {
  assert.throws(
    () => parseRegistrations(`/nix/store/${HASH}-a\n${'00'.repeat(32)}\n96\n\n3\n/nix/store/${OTHER}-b`, '/nix/store'),
    (error) => error instanceof NixferryError && error.code === 'nix-failed',
  );
});
