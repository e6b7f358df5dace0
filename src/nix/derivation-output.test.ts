import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contentAddressNamesPath } from './content-address.ts';
import { type Derivation, parseDerivation } from './derivation.ts';
import {
  derivationKind,
  fixedOutput,
  isContentAddressed,
  isFixedOutput,
  isFloating,
  outputPaths,
} from './derivation-output.ts';
import { formatHash, hashBytes } from './hash.ts';
import { makeFixedOutputPath, makeTextPath } from './store-path-kinds.ts';

const HASH = hashBytes('sha256', 'contents');
const DIGEST = formatHash(HASH, 'base16', { prefix: false });
const FLAT = makeFixedOutputPath('flat', HASH, 'file', '/nix/store');

test('derivationKind and its kin tell derivations apart when their outputs are of each kind', () => {
  const kinds = {
    'input-addressed': withOutputs(`("out","${FLAT}","","")`),
    fixed: withOutputs(`("out","${FLAT}","sha256","${DIGEST}")`),
    floating: withOutputs('("dev","","r:sha256",""),("out","","r:sha256","")'),
    deferred: withOutputs('("out","","","")'),
    impure: withOutputs('("out","","r:sha256","impure")'),
  };
  for (const [kind, derivation] of Object.entries(kinds)) {
    assert.equal(derivationKind(derivation), kind);
    assert.equal(isFixedOutput(derivation), kind === 'fixed', kind);
    assert.equal(isFloating(derivation), ['floating', 'deferred', 'impure'].includes(kind), kind);
    assert.equal(isContentAddressed(derivation), ['fixed', 'floating', 'impure'].includes(kind), kind);
  }
  assert.deepEqual(
    [...outputPaths(kinds.floating)],
    [
      ['dev', undefined],
      ['out', undefined],
    ],
  );
  assert.deepEqual([...outputPaths(kinds.fixed)], [['out', FLAT]]);
});

test('fixedOutput gives the content address when the mode is flat, recursive or text', () => {
  const modes = [
    ['', { method: 'flat', hash: HASH }, FLAT],
    ['r:', { method: 'nar', hash: HASH }, makeFixedOutputPath('nar', HASH, 'file', '/nix/store')],
    ['text:', { method: 'text', hash: HASH }, makeTextPath('file', HASH, [], '/nix/store')],
  ] as const;
  for (const [prefix, contentAddress, path] of modes) {
    const found = fixedOutput(onlyOutput(`("out","${path}","${prefix}sha256","${DIGEST}")`));
    assert.deepEqual(found, { path, contentAddress });
    assert.equal(contentAddressNamesPath(contentAddress, path, []), true);
  }
});

test('fixedOutput has an unknown content address when later Nix chose method or algorithm', () => {
  const git = fixedOutput(onlyOutput(`("out","${FLAT}","git:sha1","${'0'.repeat(40)}")`));
  assert.deepEqual(git?.contentAddress, { method: 'unknown', text: `fixed:git:sha1:${'0'.repeat(40)}` });
  const blake = fixedOutput(onlyOutput(`("out","${FLAT}","r:blake3","${DIGEST}")`));
  assert.deepEqual(blake?.contentAddress, { method: 'unknown', text: `fixed:r:blake3:${DIGEST}` });
});

test('fixedOutput is undefined when the output is not fixed', () => {
  assert.equal(fixedOutput(onlyOutput(`("out","${FLAT}","","")`)), undefined);
  assert.equal(fixedOutput(onlyOutput('("out","","r:sha256","")')), undefined);
});

test('isFixedOutput is false when the fixed output is not the one output out', () => {
  assert.equal(isFixedOutput(withOutputs(`("dev","${FLAT}","sha256","${DIGEST}")`)), false);
});

function withOutputs(outputs: string): Derivation {
  return parseDerivation(Buffer.from(`Derive([${outputs}],[],[],"s","b",[],[])`));
}

function onlyOutput(output: string) {
  const [first] = withOutputs(output).outputs.values();
  assert.ok(first !== undefined);
  return first;
}
