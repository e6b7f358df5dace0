// NARs against real Nix: what Nix dumps we read and write to the same bytes, what we write Nix restores, what Nix refuses we refuse.
import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import * as fc from 'fast-check';
import { readBounded } from '../src/base/files.ts';
import { narNodeFromFileSystem } from '../src/evaluate/file-tree.ts';
import { NixFormatError } from '../src/nix/format-error.ts';
import { formatHash, hashBytes } from '../src/nix/hash.ts';
import { narString } from '../src/nix/nar-format.ts';
import { formatNarListing, narListing, parseNarListing } from '../src/nix/nar-listing.ts';
import { NarParser } from '../src/nix/nar-reader.ts';
import { writeNar } from '../src/nix/nar-writer.ts';
import { nixConfiguration } from './support/nix.ts';
import { toolEnvironment } from './support/run.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';

const MAX_NAR_BYTES = 64 * 1024 * 1024;
let temp: TempDir;
let env: Record<string, string>;

before(async () => {
  temp = await makeTempDir('oracle-nar');
  env = toolEnvironment({
    HOME: temp.path,
    NIX_REMOTE: '',
    NIX_STATE_DIR: temp.join('state'),
    NIX_CONF_DIR: temp.join('no-configuration'),
    NIX_CONFIG: nixConfiguration.join('\n'),
  });
  await makeOddTree(temp.join('odd'));
});
after(() => temp[Symbol.asyncDispose]());

test('writeNar writes what nix-store --dump writes, and nix-hash agrees on its hash', async () => {
  await writeFile(temp.join('file'), 'only a file');
  await chmod(temp.join('file'), 0o755);
  await symlink('nowhere', temp.join('link'));
  for (const path of [
    temp.join('odd'),
    temp.join('file'),
    temp.join('link'),
    '/etc/alternatives',
    '/usr/share/common-licenses',
  ]) {
    const ours = await dump(path);
    assert.ok(ours.equals(nix('nix-store', ['--dump', path]).stdout), path);
    const hash = nix('nix-hash', ['--type', 'sha256', path]).stdout.toString().trim();
    assert.equal(formatHash(hashBytes('sha256', ours), 'base16', { prefix: false }), hash);
  }
});

test('nix-store --restore makes the tree again from what writeNar wrote', async () => {
  const ours = await dump(temp.join('odd'));
  nix('nix-store', ['--restore', temp.join('restored')], ours);
  assert.ok(ours.equals(await dump(temp.join('restored'))));
});

test('narListing lists the NAR as Nix does beside a narinfo, byte for byte', async () => {
  const store = temp.join('store');
  const storePath = nix('nix-store', ['--store', store, '--add', temp.join('listed')])
    .stdout.toString()
    .trim();
  const cache = temp.join('cache');
  const target = `file://${cache}?write-nar-listing=true&compression=none`;
  nix('nix', ['copy', '--store', store, '--no-check-sigs', '--to', target, storePath]);
  const hashPart = storePath.slice('/nix/store/'.length, '/nix/store/'.length + 32);
  const theirs = await readFile(`${cache}/${hashPart}.ls`);
  const ours = await narListing([await dump(temp.join('listed'))]);
  assert.equal(formatNarListing(ours), theirs.toString());
  assert.deepEqual(parseNarListing(theirs), ours);
});

test('NarParser refuses every malformed NAR, and Nix refuses none that it accepts', async () => {
  let refusedByNix = 0;
  for (const [what, bytes] of Object.entries(malformed())) {
    assert.throws(() => parse(bytes), NixFormatError, what);
    if (!(await nixRestores(bytes))) refusedByNix += 1;
  }
  // Nix 2.8 does not look at everything (order, the place of the executable mark); were the number small, it would not have been asked rightly.
  assert.ok(refusedByNix >= 12, `${refusedByNix} refused by Nix`);
});

test('NarParser accepts of mutated NARs only those that Nix restores and dumps to the same bytes', async () => {
  const link = ['(', 'type', 'symlink', 'target', 'there', ')'];
  const original = nar(...directory(entry('abc', file('hello')), entry('bcd', link), entry('xyz', directory())));
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(fc.nat(original.length - 1), fc.integer({ min: 0, max: 255 }), async (position, byte) => {
      const mutated = Buffer.from(original);
      mutated[position] = byte;
      if (!accepts(mutated)) return;
      accepted += 1;
      assert.ok(await nixRestores(mutated));
      assert.ok(nix('nix-store', ['--dump', temp.join('attempt')]).stdout.equals(mutated));
    }),
    { numRuns: 400 },
  );
  assert.ok(accepted > 0);
});

const file = (contents: string) => ['(', 'type', 'regular', 'contents', contents, ')'];
const entry = (name: string, node: readonly string[]) => ['entry', '(', 'name', name, 'node', ...node, ')'];
const directory = (...entries: string[][]) => ['(', 'type', 'directory', ...entries.flat(), ')'];
const nar = (...words: string[]) => Buffer.concat(['nix-archive-1', ...words].map((word) => narString(word)));

function malformed(): Record<string, Buffer> {
  const good = nar(...directory(entry('abc', file('hello')), entry('l', ['(', 'type', 'symlink', 'target', 'x', ')'])));
  const padded = Buffer.from(good);
  padded[good.indexOf('hello') + 5] = 1;
  const tooLarge = nar('(', 'type', 'regular', 'contents', '');
  tooLarge.writeBigUInt64LE(2n ** 63n, tooLarge.length - 8);
  return {
    empty: Buffer.alloc(0),
    'another magic': Buffer.concat([narString('nix-archive-2'), good.subarray(24)]),
    'cut short in a file': good.subarray(0, good.indexOf('hello') + 3),
    'cut short at the end': good.subarray(0, -16),
    'padding that is not zero': padded,
    'a huge file': tooLarge,
    'a type that does not exist': nar('(', 'type', 'device', ')'),
    'a type twice': nar('(', 'type', 'regular', 'type', 'regular', 'contents', '', ')'),
    'an unknown field': nar('(', 'type', 'regular', 'mode', '0644', 'contents', '', ')'),
    'an executable mark with a value': nar('(', 'type', 'regular', 'executable', 'yes', 'contents', '', ')'),
    'an executable mark after the contents': nar('(', 'type', 'regular', 'contents', '', 'executable', '', ')'),
    'contents in a directory': nar('(', 'type', 'directory', 'contents', 'x', ')'),
    'a target in a file': nar('(', 'type', 'regular', 'target', 'x', ')'),
    'an empty name': nar(...directory(entry('', file('')))),
    'the name .': nar(...directory(entry('.', file('')))),
    'the name ..': nar(...directory(entry('..', file('')))),
    'a name with a slash': nar(...directory(entry('a/b', file('')))),
    'a name with a zero byte': nar(...directory(entry('a\0b', file('')))),
    'a name twice': nar(...directory(entry('a', file('')), entry('a', file('')))),
    'names out of order': nar(...directory(entry('b', file('')), entry('a', file('')))),
    'a node before its name': nar(...directory(['entry', '(', 'node', ...file(''), 'name', 'a', ')'])),
    'an entry that does not open': nar(...directory(['entry', 'name', 'a', 'node', ...file('')])),
  };
}

/** Everything that a store path may hold and that is easily got wrong. */
async function makeOddTree(root: string): Promise<void> {
  await makeListedTree(temp.join('listed'));
  await makeListedTree(root);
  await writeFile(Buffer.concat([Buffer.from(`${root}/not-utf8-`), Buffer.from([0xff, 0xfe])]), 'x');
  await writeFile(`${root}/large`, randomBytes(3_000_001));
  await writeFile(`${root}/${'n'.repeat(255)}`, '');
}

async function makeListedTree(root: string): Promise<void> {
  await mkdir(`${root}/sub/deeper/deepest/empty`, { recursive: true });
  const names = [
    '1',
    '10',
    '9',
    'A',
    'a',
    'a b',
    'a.b',
    'a-b',
    'quote"\\',
    'line\n\r\t\b\f\u0001\u007f',
    'ü',
    '中😀',
    ' ',
  ];
  for (const [index, name] of names.entries()) await writeFile(`${root}/${name}`, 'x'.repeat(index));
  await writeFile(`${root}/sub/run`, '#!/bin/sh\n');
  await chmod(`${root}/sub/run`, 0o755);
  await writeFile(`${root}/sub/others-may-run`, '');
  await chmod(`${root}/sub/others-may-run`, 0o611);
  await symlink('../../nowhere/ü\n', `${root}/sub/link`);
  await symlink('t'.repeat(4095), `${root}/sub/long-link`);
}

async function dump(path: string): Promise<Buffer> {
  return readBounded(writeNar(await narNodeFromFileSystem(path)), MAX_NAR_BYTES);
}

function parse(bytes: Buffer): void {
  const parser = new NarParser({});
  parser.push(bytes);
  parser.end();
}

function accepts(bytes: Buffer): boolean {
  try {
    parse(bytes);
    return true;
  } catch (error) {
    assert.ok(error instanceof NixFormatError);
    return false;
  }
}

/** Whether `nix-store --restore` accepts the NAR; what it makes is at `attempt`. */
async function nixRestores(bytes: Buffer): Promise<boolean> {
  await rm(temp.join('attempt'), { recursive: true, force: true });
  return callNix('nix-store', ['--restore', temp.join('attempt')], bytes).status === 0;
}

function nix(command: string, args: readonly string[], input?: Buffer): { stdout: Buffer } {
  const result = callNix(command, args, input);
  assert.equal(result.status, 0, `${command} ${args.join(' ')}: ${result.stderr.toString()}`);
  return result;
}

function callNix(command: string, args: readonly string[], input?: Buffer): SpawnSyncReturns<Buffer> {
  return spawnSync(command, args, { env, input, maxBuffer: MAX_NAR_BYTES });
}
