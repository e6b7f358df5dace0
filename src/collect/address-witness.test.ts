import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  hashBytes,
  makeFixedOutputPath,
  makeOutputPath,
  makeTextPath,
  type NarNode,
  type StorePath,
  writeNar,
} from '../nix/index.ts';
import { AddressWitness } from './address-witness.ts';

const CONTENTS = Buffer.from('Derive([],[],[],"x","y",[],[])');
const STORE = '/nix/store';

function file(contents: Buffer, executable = false): NarNode {
  return {
    type: 'regular',
    executable,
    sizeBytes: contents.length,
    contents: async function* () {
      yield contents;
    },
  };
}

async function witness(
  node: NarNode,
  pathOf: (narHash: ReturnType<typeof hashBytes>) => StorePath,
  references: StorePath[] = [],
) {
  const nar = Buffer.concat(await Array.fromAsync(writeNar(node)));
  const narHash = hashBytes('sha256', nar);
  const seen = new AddressWitness();
  // In pieces, as a stream brings it.
  for (let at = 0; at < nar.length; at += 7) seen.push(nar.subarray(at, at + 7));
  return { address: seen.address({ storePath: pathOf(narHash), references, narHash }), narHash };
}

test('AddressWitness finds the text address of a derivation, references included', async () => {
  const hash = hashBytes('sha256', CONTENTS);
  const reference = makeTextPath('a.drv', hash, [], STORE);
  const { address } = await witness(file(CONTENTS), () => makeTextPath('b.drv', hash, [reference], STORE), [reference]);
  assert.equal(address, `text:${hash}`);
});

test('AddressWitness finds the address of a source tree and of a flat download', async () => {
  const tree: NarNode = { type: 'directory', entries: () => [[Buffer.from('f'), file(CONTENTS)]] };
  const source = await witness(tree, (hash) => makeFixedOutputPath('nar', hash, 'source', STORE));
  assert.equal(source.address, `fixed:r:${source.narHash}`);
  const hash = hashBytes('sha256', CONTENTS);
  const flat = await witness(file(CONTENTS), () => makeFixedOutputPath('flat', hash, 'x.tar', STORE));
  assert.equal(flat.address, `fixed:${hash}`);
});

test('AddressWitness gives none for an output that its derivation names, nor for an executable as flat file', async () => {
  const hash = hashBytes('sha256', CONTENTS);
  const output = await witness(file(CONTENTS), () => makeOutputPath('out', hash, 'hello', STORE));
  assert.equal(output.address, undefined);
  const executable = await witness(file(CONTENTS, true), () => makeFixedOutputPath('flat', hash, 'x', STORE));
  assert.equal(executable.address, undefined);
});
