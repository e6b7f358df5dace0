import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { extract, type Header } from 'tar-stream';
import {
  formatTarHeader,
  TAR_END_BYTES,
  type TarMember,
  tarHeaderBytes,
  tarMemberBytes,
  tarPaddingBytes,
} from './tar-header.ts';

const longName = `build-trace-v2/${'0'.repeat(32)}-${'n'.repeat(207)}.drv/out.doi`;
const members: TarMember[] = [
  { name: 'nar/', kind: 'folder', sizeBytes: 0 },
  { name: 'nix-cache-info', kind: 'file', sizeBytes: 21 },
  { name: `${'a'.repeat(99)}/`, kind: 'folder', sizeBytes: 0 },
  { name: 'b'.repeat(100), kind: 'file', sizeBytes: 512 },
  { name: `c${'c'.repeat(100)}`, kind: 'file', sizeBytes: 513 },
  { name: longName, kind: 'file', sizeBytes: 0 },
];

function stream(): Buffer {
  const parts = members.flatMap((member) => [
    formatTarHeader(member),
    Buffer.alloc(member.sizeBytes, 'x'),
    Buffer.alloc(tarPaddingBytes(member.sizeBytes)),
  ]);
  return Buffer.concat([...parts, Buffer.alloc(TAR_END_BYTES)]);
}

test('formatTarHeader is understood by GNU tar when names are short and long', () => {
  const { status, stdout, stderr } = spawnSync('tar', ['-tvf', '-', '--utc', '--numeric-owner'], { input: stream() });
  assert.equal(stderr.toString(), '');
  assert.equal(status, 0);
  const lines = stdout.toString().trimEnd().split('\n');
  assert.deepEqual(
    lines.map((line) => line.split(/ +/).at(-1)),
    members.map((member) => member.name),
  );
  assert.match(lines[0] ?? '', /^drwxr-xr-x 0\/0 +0 1970-01-01 00:00 nar\/$/);
  assert.match(lines[1] ?? '', /^-rw-r--r-- 0\/0 +21 1970-01-01 00:00 nix-cache-info$/);
});

test('formatTarHeader is understood by another implementation when names are short and long', async () => {
  const seen: Header[] = [];
  const reader = extract();
  reader.on('entry', (header, body, next) => {
    seen.push(header);
    body.on('end', next);
    body.resume();
  });
  await new Promise((resolve, reject) => {
    reader.on('finish', () => resolve(undefined)).on('error', reject);
    Readable.from([stream()]).pipe(reader);
  });
  const expected = members.map(({ name, sizeBytes }) => ({ name: name.replace(/\/$/, ''), sizeBytes }));
  assert.deepEqual(
    seen.map((header) => ({ name: header.name.replace(/\/$/, ''), sizeBytes: header.size })),
    expected,
  );
});

test('formatTarHeader states a size in a pax record when it is 8 GiB or more', () => {
  const large = formatTarHeader({ name: 'nar/x', kind: 'file', sizeBytes: 8 * 1024 ** 3 });
  assert.match(large.toString('latin1', 512, 1024), /^19 size=8589934592\n\0/);
  assert.equal(formatTarHeader({ name: 'nar/x', kind: 'file', sizeBytes: 8 * 1024 ** 3 - 1 }).length, 512);
});

test('tarHeaderBytes and tarMemberBytes agree with what is written', () => {
  for (const member of members) {
    assert.equal(formatTarHeader(member).length, tarHeaderBytes(member));
    assert.equal(tarMemberBytes(member) % 512, 0);
  }
  assert.equal(tarMemberBytes({ name: 'x', kind: 'file', sizeBytes: 513 }), 512 + 1024);
});
