import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { forge, makeTestShipment, openSite, type TestShipment, visiblePaths } from '../../test/support/shipments.ts';
import { NixferryError } from '../base/errors.ts';
import { importShipment } from './import.ts';
import { importProblem } from './import-problem.ts';
import type { InventoryRecord, PathLine } from './inventory.ts';

// The sender is trusted here, and lies: a stolen key must not reach beyond the paths that it vouches for.

type Change = (records: InventoryRecord[]) => unknown[];

function changePath(suffix: string, change: (line: PathLine) => unknown): Change {
  return (records) => {
    return records.map((record) => (record.type === 'path' && record.path.endsWith(suffix) ? change(record) : record));
  };
}

function digits(char: string): string {
  return char.repeat(52);
}

const LIES: Record<string, Change> = {
  'a path outside of the store': changePath('-app', (line) => ({ ...line, path: '../../../etc/passwd' })),
  'a path named dot dot': changePath('-app', (line) => ({ ...line, path: `${line.path.slice(0, 33)}..` })),
  'a NAR outside of the cache': changePath('-app', (line) => ({
    ...line,
    nar: { ...line.nar, name: 'nar/../../evil.nar' },
  })),
  'a NAR with an absolute name': changePath('-app', (line) => ({ ...line, nar: { ...line.nar, name: '/etc/passwd' } })),
  'a NAR named by another hash': changePath('-app', (line) => ({
    ...line,
    nar: { ...line.nar, fileHash: `sha256:${digits('0')}` },
  })),
  'a file that no cache has': (records) => [
    ...records.slice(0, 2),
    { ...records[1], name: '.nixferry/keys/secret' },
    ...records.slice(2),
  ],
  'a file with a name that climbs': (records) => [...records, { ...records[1], name: 'log/../../evil' }],
  'the same path twice': (records) => [...records, records.at(-1)],
  'the same file twice': (records) => [...records, records[1]],
  'a reference that is not there': changePath('-app', (line) => ({
    ...line,
    references: [...line.references, `${'0'.repeat(32)}-ghost`],
  })),
  'a referrer before its reference': (records) => [...records.slice(0, -2), records.at(-1), records.at(-2)],
  'a root that does not hold a reference': changePath('-libc', (line) => ({ ...line, roots: [] })),
  'a root that is not in the list': changePath('-libc', (line) => ({ ...line, roots: [0, 7] })),
  'a root with a path too few': (records) =>
    records.filter((record) => record.type !== 'path' || !record.path.endsWith('-app')),
  'a root with another name than in the manifest': (records) => {
    return records.map((record) => (record.type === 'root' ? { ...record, name: 'other' } : record));
  },
  'another NarHash than the root digests': changePath('-app', (line) => ({
    ...line,
    narHash: `sha256:${digits('1')}`,
  })),
  'another NarSize than the totals': changePath('-app', (line) => ({ ...line, narSizeBytes: line.narSizeBytes + 8 })),
  'a member at another place': changePath('-app', (line) => ({
    ...line,
    nar: { ...line.nar, offset: line.nar.offset + 512 },
  })),
  'a negative offset': changePath('-app', (line) => ({ ...line, nar: { ...line.nar, offset: -512 } })),
  'a NAR larger than the volumes': changePath('-app', (line) => ({
    ...line,
    nar: { ...line.nar, sizeBytes: 2 ** 50 },
  })),
  'a size that is no number': changePath('-app', (line) => ({ ...line, narSizeBytes: 1e300 })),
  'a signature with a line break': changePath('-app', (line) => ({ ...line, signatures: ['a:b\nStorePath: /evil'] })),
  'deep nesting': changePath('-app', (line) => ({
    ...line,
    system: JSON.parse(`${'['.repeat(2000)}${']'.repeat(2000)}`),
  })),
  'no line at all': () => [],
};

async function assertRefused(shipment: TestShipment, name: string): Promise<void> {
  await using site = await openSite(shipment, 'site');
  await assert.rejects(
    importShipment({ mirror: site, directories: [shipment.folder], trust: [shipment.sender.publicKey] }),
    (error) => error instanceof NixferryError && error.code === 'damage' && /inventory/.test(error.message),
    name,
  );
  assert.deepEqual(await visiblePaths(site), [], name);
  assert.deepEqual(await readdir(site.layout.partialFolder), [], name);
}

// Most of the time goes into waiting for the disk: side by side they take a third.
suite('importing what a trusted sender made up', { concurrency: 4 }, () => {
  test('importShipment throws damage and takes in nothing when the inventory lies', async () => {
    await using shipment = await makeTestShipment();
    for (const [name, records] of Object.entries(LIES)) {
      await forge(shipment, { records });
      await assertRefused(shipment, name);
    }
  });

  test('importShipment throws damage with bounded memory when the inventory is a zstd bomb', async () => {
    await using shipment = await makeTestShipment();
    const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024, 'x'));
    await writeFile(join(shipment.folder, 'inventory.jsonl.zst'), bomb);
    const sha256 = hash('sha256', bomb);
    for (const textSizeBytes of [2000, 64 * 1024 * 1024]) {
      await forge(shipment, {
        manifest: (manifest) => ({
          ...manifest,
          inventory: { ...manifest.inventory, sizeBytes: bomb.length, sha256, textSizeBytes },
        }),
      });
      await using site = await openSite(shipment, `site-${textSizeBytes}`);
      await assert.rejects(
        importShipment({ mirror: site, directories: [shipment.folder], trust: [shipment.sender.publicKey] }),
        (error) => error instanceof NixferryError && error.code === 'damage',
      );
    }
  });

  test('importShipment throws damage when the manifest is huge, deeply nested or makes no sense', async () => {
    await using shipment = await makeTestShipment();
    await using site = await openSite(shipment);
    const { sender, senderKey } = shipment.result.manifest;
    const bad: unknown[] = [
      { format: 1, minReader: 1, sender, senderKey },
      { ...shipment.result.manifest, volumes: [{ name: '../../etc/passwd', sizeBytes: 1, sha256: '0'.repeat(64) }] },
      { ...shipment.result.manifest, site: '../x' },
      { ...shipment.result.manifest, sequence: 0.5 },
      { ...shipment.result.manifest, deep: JSON.parse(`${'['.repeat(500)}${']'.repeat(500)}`) },
      { ...shipment.result.manifest, wide: 'x'.repeat(1024 * 1024) },
    ];
    for (const manifest of bad) {
      await forge(shipment, { manifest: () => manifest });
      await assert.rejects(
        importShipment({ mirror: site, directories: [shipment.folder], trust: [shipment.sender.publicKey] }),
        (error) => error instanceof NixferryError && error.code === 'damage',
      );
    }
  });

  /** What a tar header may be made to say; the offset of the field and its new contents. */
  const HEADERS: Record<string, [number, string]> = {
    'a name that climbs': [0, '../../../../tmp/evil\0'],
    'an absolute name': [0, '/tmp/evil\0'],
    'a symbolic link': [156, '2'],
    'a hard link': [156, '1'],
    'a device': [156, '3'],
    'a pipe': [156, '6'],
    'another size': [124, '00000000001\0'],
  };

  test('importShipment refuses the path when the tar header of its NAR is made to say something else', async () => {
    await using shipment = await makeTestShipment({ volumeSizeBytes: 1_000_000 });
    const file = join(shipment.folder, 'volumes/0001-001.tar');
    const good = await readFile(file);
    const start = 1024 + 4 * 512;
    for (const [name, [offset, text]] of Object.entries(HEADERS)) {
      const bytes = Buffer.from(good);
      bytes.write(text, start + offset, 'latin1');
      fixChecksum(bytes.subarray(start, start + 512));
      await writeFile(file, bytes);
      await using site = await openSite(shipment, `site ${name}`.replaceAll(' ', '-'));
      const result = await importShipment({
        mirror: site,
        directories: [shipment.folder],
        trust: [shipment.sender.publicKey],
      });
      assert.equal(importProblem(result)?.code, 'damage', name);
      assert.match(importProblem(result)?.message ?? '', /tar header/, name);
      assert.deepEqual(await visiblePaths(site), [], name);
    }
  });
});

function fixChecksum(header: Buffer): void {
  header.write('        ', 148, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}
