import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { narOf, narOfPath } from '../../test/support/file-tree.ts';
import { makeTempDir, type TempDir } from '../../test/support/temp-dir.ts';
import { NixferryError } from '../base/errors.ts';
import { hashBytes, type NarNode, writeNar } from '../nix/index.ts';
import { withOutput } from './output-forms.ts';
import { SpooledTree } from './spooled-tree.ts';
import { unpackTar } from './unpack-tar.ts';
import { unpackZip } from './unpack-zip.ts';

const { signal } = new AbortController();

type TarEntry = Parameters<ReturnType<typeof pack>['entry']>[0] & { readonly text?: string };

async function tarOf(entries: readonly TarEntry[]): Promise<Buffer> {
  const archive = pack();
  for (const { text = '', ...header } of entries) archive.entry(header, text);
  archive.finalize();
  return Buffer.concat(await Array.fromAsync(archive as AsyncIterable<Buffer>));
}

async function* inChunks(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let start = 0; start < bytes.length; start += 700) yield bytes.subarray(start, start + 700);
}

async function narOfNode(node: NarNode | undefined): Promise<Buffer> {
  assert.ok(node !== undefined);
  return Buffer.concat(await Array.fromAsync(writeNar(node)));
}

async function unpackToNothing(temp: TempDir, entries: readonly TarEntry[]) {
  await using tree = await SpooledTree.open(temp.join('spool'));
  await unpackTar(inChunks(await tarOf(entries)), tree);
}

test('unpackTar gives the tree that GNU tar unpacks: links, modes, long names, the last of two', async () => {
  await using temp = await makeTempDir('unpack');
  const long = `${'d'.repeat(90)}/${'e'.repeat(90)}/${'f'.repeat(90)}`;
  const bytes = await tarOf([
    { name: './', type: 'directory' },
    { name: './top/bin/tool', mode: 0o755, text: '#!/bin/sh\n' },
    { name: 'top/group-may-run', mode: 0o654, text: 'no\n' },
    { name: 'top/link', type: 'symlink', linkname: '../outside/of/it' },
    { name: 'top/hard', type: 'link', linkname: 'top/bin/tool' },
    { name: `top/${long}`, text: 'deep\n' },
    { name: 'top/ünïcode', text: 'name\n' },
    { name: 'top/empty/', type: 'directory' },
    { name: 'top/twice', text: 'first\n' },
    { name: 'top/twice', text: 'second\n' },
    { name: '/top/absolute', text: 'below\n' },
  ]);
  await writeFile(temp.join('archive.tar'), bytes);
  await mkdir(temp.join('out'));
  await promisify(execFile)('tar', ['-xf', temp.join('archive.tar'), '-C', temp.join('out')]);
  await using tree = await SpooledTree.open(temp.join('spool'));
  await unpackTar(inChunks(bytes), tree);
  assert.deepEqual(await narOfNode(tree.whole()), await narOfPath(temp.join('out')));
  assert.deepEqual(await narOfNode(tree.inner()), await narOfPath(temp.join('out/top')));
});

for (const [what, entries] of Object.entries<readonly TarEntry[]>({
  'a name that climbs': [{ name: '../outside', text: 'x' }],
  'a name that climbs in its middle': [{ name: 'a/../../outside', text: 'x' }],
  'a file below a link': [
    { name: 'a', type: 'symlink', linkname: '/tmp' },
    { name: 'a/b', text: 'x' },
  ],
  'a file below a file': [
    { name: 'a', text: 'x' },
    { name: 'a/b', text: 'x' },
  ],
  'a hard link to something outside': [{ name: 'a', type: 'link', linkname: '/etc/passwd' }],
  'a hard link to a folder': [
    { name: 'a/', type: 'directory' },
    { name: 'b', type: 'link', linkname: 'a' },
  ],
  'a folder that becomes a file': [
    { name: 'a/', type: 'directory' },
    { name: 'a', text: 'x' },
  ],
  'a device': [{ name: 'null', type: 'character-device' }],
  'a pipe': [{ name: 'pipe', type: 'fifo' }],
})) {
  test(`unpackTar refuses ${what}, and nothing is left`, async () => {
    await using temp = await makeTempDir('unpack');
    await assert.rejects(unpackToNothing(temp, entries), (error: unknown) => {
      return error instanceof NixferryError && error.code === 'damage';
    });
    assert.deepEqual(await readdir(temp.path), []);
  });
}

test('unpackTar refuses what is cut short or no archive, and passes on what its source throws', async () => {
  await using temp = await makeTempDir('unpack');
  const bytes = await tarOf([{ name: 'a', text: 'x'.repeat(5000) }]);
  for (const [index, bad] of [bytes.subarray(0, 3000), Buffer.alloc(2000, 'rubbish')].entries()) {
    await using tree = await SpooledTree.open(temp.join(`spool-${index}`));
    await assert.rejects(unpackTar(inChunks(bad), tree), { code: 'damage' });
  }
  async function* failing(): AsyncGenerator<Buffer> {
    yield bytes.subarray(0, 1000);
    throw new NixferryError('no-space', 'full');
  }
  await using tree = await SpooledTree.open(temp.join('spool'));
  await assert.rejects(unpackTar(failing(), tree), { code: 'no-space' });
});

interface ZipEntry {
  readonly name: string;
  readonly text: string;
  readonly mode?: number;
  readonly stored?: boolean;
}

/** As Info-ZIP on Unix packs them, unless without a mode: then as on DOS. */
function zipOf(entries: readonly ZipEntry[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, text, mode, stored = false } of entries) {
    const raw = Buffer.from(text);
    const data = stored ? raw : deflateRawSync(raw);
    const nameBytes = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(0x0800, 2);
    common.writeUInt16LE(stored ? 0 : 8, 4);
    common.writeUInt32LE(crc32(raw), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(raw.length, 18);
    common.writeUInt16LE(nameBytes.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, nameBytes, data]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(mode === undefined ? 0 : (mode << 16) >>> 0, 6);
    tail.writeUInt32LE(offset, 10);
    const made = Buffer.from([30, mode === undefined ? 0 : 3]);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02'), made, common, tail, nameBytes]));
    parts.push(local);
    offset += local.length;
  }
  const listing = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(listing.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, listing, end]);
}

function crc32(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

async function unpackedZip(temp: TempDir, entries: readonly ZipEntry[]): Promise<SpooledTree> {
  await writeFile(temp.join('archive.zip'), zipOf(entries));
  await using cleanUp = new AsyncDisposableStack();
  const tree = cleanUp.use(await SpooledTree.open(temp.join('spool')));
  await unpackZip(temp.join('archive.zip'), tree, signal);
  cleanUp.move();
  return tree;
}

test('unpackZip gives the tree: files stored and deflated, modes and links of Unix, folders of their own', async () => {
  await using temp = await makeTempDir('unpack');
  await using tree = await unpackedZip(temp, [
    { name: 'top/', text: '', mode: 0o040755 },
    { name: 'top/bin/tool', text: '#!/bin/sh\n', mode: 0o100755 },
    { name: 'top/plain', text: 'plain\n', mode: 0o100644, stored: true },
    { name: 'top/from-dos', text: 'dos\n' },
    { name: 'top/link', text: 'bin/tool', mode: 0o120777 },
  ]);
  await mkdir(temp.join('top/bin'), { recursive: true });
  await writeFile(temp.join('top/bin/tool'), '#!/bin/sh\n', { mode: 0o755 });
  await writeFile(temp.join('top/plain'), 'plain\n');
  await writeFile(temp.join('top/from-dos'), 'dos\n');
  await symlink('bin/tool', temp.join('top/link'));
  assert.deepEqual(await narOfNode(tree.inner()), await narOfPath(temp.join('top')));
});

test('unpackZip refuses names that climb, and what is no archive', async () => {
  await using temp = await makeTempDir('unpack');
  await assert.rejects(unpackedZip(temp, [{ name: '../outside', text: 'x' }]), { code: 'damage' });
  await writeFile(temp.join('none.zip'), 'PK\x03\x04 and nothing more');
  await using tree = await SpooledTree.open(temp.join('other'));
  await assert.rejects(unpackZip(temp.join('none.zip'), tree, signal), { code: 'damage' });
});

test('withOutput finds the output in a zip, an uncompressed tar, and a single compressed file', async () => {
  await using temp = await makeTempDir('unpack');
  const tree = { file: 'contents\n' };
  const nar = await narOf(tree);
  const read = async (bytes: Buffer, expected: Buffer): Promise<Buffer> => {
    await writeFile(temp.join('fetched'), bytes);
    const source = { address: { method: 'nar', hash: hashBytes('sha256', expected) } } as const;
    const options = { tempFolder: temp.path, signal };
    return withOutput(temp.join('fetched'), source, 'tree', options, async (chunks) =>
      Buffer.concat(await Array.fromAsync(chunks)),
    );
  };
  assert.deepEqual(await read(zipOf([{ name: 'top/file', text: 'contents\n', mode: 0o100644 }]), nar), nar);
  assert.deepEqual(await read(await tarOf([{ name: 'top/file', text: 'contents\n' }]), nar), nar);
  const single = gzipSync('one file\n');
  const plain = { type: 'regular', executable: false, sizeBytes: single.length, contents: () => [single] } as const;
  const narOfSingle = await narOfNode(plain);
  assert.deepEqual(await read(single, narOfSingle), narOfSingle);
  assert.deepEqual(await readdir(temp.path), ['fetched']);
  assert.deepEqual(await readFile(temp.join('fetched')), single);
});
