import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { currentSystem } from '../evaluate/private-nix.ts';
import { type NarNode, parseStorePath, type StorePath, writeNar } from '../nix/index.ts';
import { systemOfNix, systemOfProgram } from './program-system.ts';

const NIX = storePath('1', 'nix-2.31.2');
const CLI = storePath('2', 'nix-cli-2.31.2');

function storePath(digit: string, name: string): StorePath {
  return parseStorePath(`/nix/store/${digit.repeat(32)}-${name}`, '/nix/store');
}

function program(machine: number): NarNode {
  const bytes = Buffer.alloc(4096);
  bytes.write('\x7fELF\x02\x01\x01', 'latin1');
  bytes.writeUInt16LE(machine, 18);
  return {
    type: 'regular',
    executable: true,
    sizeBytes: bytes.length,
    contents: () => [bytes.subarray(0, 5), bytes.subarray(5)],
  };
}

function link(target: string): NarNode {
  return { type: 'symlink', target: Buffer.from(target) };
}

function directory(entries: Record<string, NarNode>): NarNode {
  return { type: 'directory', entries: () => Object.entries(entries).map(([name, node]) => [Buffer.from(name), node]) };
}

function systemIn(trees: ReadonlyMap<StorePath, NarNode>): Promise<string | undefined> {
  return systemOfNix(NIX, async (path) => {
    const tree = trees.get(path);
    return tree === undefined ? undefined : writeNar(tree);
  });
}

test('systemOfNix reads the machine from the program, through links of every kind', async () => {
  const bin = (node: NarNode) => directory({ bin: directory({ nix: node }), etc: directory({}) });
  assert.equal(await systemIn(new Map([[NIX, bin(program(62))]])), 'x86_64-linux');
  const targets = [`${CLI}/bin/nix`, `../../${CLI.slice('/nix/store/'.length)}/bin/nix`];
  for (const target of targets) {
    const trees = new Map([
      [NIX, bin(link(target))],
      [CLI, bin(program(183))],
    ]);
    assert.equal(await systemIn(trees), 'aarch64-linux', target);
  }
  const folderLink = new Map([
    [NIX, directory({ bin: link(`${CLI}/bin`) })],
    [CLI, bin(link('nix-real'))],
  ]);
  assert.equal(await systemIn(folderLink), undefined);
  folderLink.set(CLI, directory({ bin: directory({ nix: link('real'), real: program(183) }) }));
  assert.equal(await systemIn(folderLink), 'aarch64-linux');
});

test('systemOfNix ends when links lead in a circle, out of the store, or to what is not there', async () => {
  for (const target of [`${NIX}/bin/nix`, '/usr/bin/nix', `${CLI}/bin/nix`, '../../../../../..']) {
    const trees = new Map([[NIX, directory({ bin: directory({ nix: link(target) }) })]]);
    assert.equal(await systemIn(trees), undefined, target);
  }
  assert.equal(await systemIn(new Map()), undefined);
  assert.equal(await systemIn(new Map([[NIX, directory({ bin: directory({}) })]])), undefined);
});

test('systemOfProgram knows this machine, and scripts as none', async () => {
  assert.equal(systemOfProgram((await readFile(process.execPath)).subarray(0, 64)), currentSystem());
  assert.equal(systemOfProgram(Buffer.from('#!/bin/sh\nexec nix-real "$@"\n')), undefined);
  assert.equal(systemOfProgram(Buffer.from('\x7fELF', 'latin1')), undefined);
});
