import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import {
  flipBit,
  infoOf,
  makeTempFolder,
  makeTestMirror,
  makeTestRoot,
  makeTestShipment,
  noise,
  PACK,
  SMALL_CLOSURE,
  type TestMirror,
} from '../../test/support/shipments.ts';
import { NixferryError } from '../base/errors.ts';
import { parseManifest } from './manifest.ts';
import { findManifestSigner } from './manifest-signature.ts';
import { type PackOptions, packShipment } from './pack.ts';
import { writeSent } from './sent.ts';

function hasCode(code: string, pattern: RegExp = /./): (error: unknown) => boolean {
  return (error) =>
    error instanceof NixferryError && error.code === code && pattern.test(`${error.message} ${error.hint}`);
}

async function withSender<Result>(
  run: (sender: TestMirror, temp: string, options: PackOptions) => Promise<Result>,
): Promise<Result> {
  await using temp = await makeTempFolder();
  await using sender = await makeTestMirror(join(temp.folder, 'sender'), SMALL_CLOSURE);
  const roots = [makeTestRoot(sender.paths, 'app', ['app'])];
  const to = join(temp.folder, 'medium');
  return await run(sender, temp.folder, { ...PACK, mirror: sender.mirror, roots, to, volumeSizeBytes: 20_000 });
}

async function contentsOf(folder: string): Promise<Map<string, string>> {
  const contents = new Map<string, string>();
  for (const name of (await readdir(folder, { recursive: true })).sort()) {
    if ((await stat(join(folder, name))).isFile()) contents.set(name, await readFile(join(folder, name), 'base64'));
  }
  return contents;
}

// Most of the time goes into waiting for the disk: side by side they take a third.
suite('packing', { concurrency: 4 }, () => {
  test('packShipment writes the same bytes when it packs the same mirror again', async () => {
    await withSender(async (sender, temp, options) => {
      const first = await packShipment(options);
      await rm(join(sender.mirror.layout.folder, 'sent'), { recursive: true });
      const second = await packShipment({ ...options, to: join(temp, 'other') });
      assert.notEqual(first.folder, second.folder);
      assert.deepEqual(await contentsOf(first.folder), await contentsOf(second.folder));
    });
  });

  test('packShipment writes files that sha256sum finds in order and a manifest that its key signed', async () => {
    await using shipment = await makeTestShipment();
    const { folder, sender } = shipment;
    const output = execFileSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: folder }).toString();
    const files = [...(await contentsOf(folder)).keys()].filter((name) => name !== 'SHA256SUMS');
    assert.deepEqual(output.trimEnd().split('\n').sort(), files.map((name) => `${name}: OK`).sort());
    const bytes = await readFile(join(folder, 'manifest.json'));
    assert.deepEqual(parseManifest(bytes, 'manifest'), shipment.result.manifest);
    const signature = await readFile(join(folder, 'manifest.sig'), 'utf8');
    assert.equal(findManifestSigner(bytes, signature, [sender.publicKey]), sender.publicKey);
  });

  for (const volumeSizeBytes of [8192, 10_007, 20_000, 33_333, 1_000_000]) {
    test(`packShipment gives a mirror again by cat and tar when volumes have ${volumeSizeBytes} bytes`, async () => {
      await using shipment = await makeTestShipment({ volumeSizeBytes });
      const out = join(shipment.temp, 'out');
      await mkdir(out);
      execFileSync('sh', ['-c', 'cat "$1"/volumes/*.tar | tar -xf - -C "$2"', 'sh', shipment.folder, out]);
      const found = await contentsOf(out);
      const original = await contentsOf(shipment.sender.directory);
      for (const name of original.keys()) if (name.startsWith('.')) original.delete(name);
      assert.deepEqual(found, original);
      assert.deepEqual((await readdir(out)).filter((name) => !name.endsWith('.narinfo')).sort(), [
        'build-trace-v2',
        'log',
        'nar',
        'nix-cache-info',
        'realisations',
      ]);
      for (const { sizeBytes } of shipment.result.manifest.volumes) assert.ok(sizeBytes <= volumeSizeBytes);
    });
  }

  test('packShipment writes references before referrers and each NAR before its narinfo', async () => {
    await using shipment = await makeTestShipment();
    const listing = execFileSync('sh', ['-c', 'cat volumes/*.tar | tar -tf -'], { cwd: shipment.folder }).toString();
    const expected = ['libc', 'big', 'app'].flatMap((name) => {
      const info = infoOf(shipment.paths, name);
      return [info.url, `${info.storePath.slice(11, 43)}.narinfo`];
    });
    const folders = ['nar/', 'log/', 'realisations/', 'build-trace-v2/'];
    assert.deepEqual(listing.trimEnd().split('\n'), ['nix-cache-info', ...folders, ...expected]);
  });

  test('packShipment carries a NAR once when two paths have the same contents', async () => {
    const contents = noise('same', 3000);
    const paths = [
      { name: 'one', contents },
      { name: 'two', contents, references: ['one'] },
    ];
    await using shipment = await makeTestShipment({ paths, rootNames: ['two'] });
    assert.equal(shipment.result.manifest.totals.pathCount, 2);
    assert.equal(shipment.result.manifest.totals.narCount, 1);
  });

  test('packShipment numbers the shipments of each site and names the manifest before', async () => {
    await withSender(async (_, __, options) => {
      const first = await packShipment(options);
      const second = await packShipment(options);
      const other = await packShipment({ ...options, site: 'ship-1' });
      assert.deepEqual([first.manifest.sequence, second.manifest.sequence, other.manifest.sequence], [1, 2, 1]);
      assert.deepEqual(
        [first.manifest.previous, second.manifest.previous, other.manifest.previous],
        [null, first.manifestSha256, null],
      );
      assert.match(second.folder, /\/plant-7-0002$/);
    });
  });

  test('packShipment continues an attempt that was stopped when it is called again', async () => {
    await withSender(async (_, __, options) => {
      const stop = new AbortController();
      let volumesSeen = 0;
      const folder = join(options.to, 'plant-7-0001');
      const onProgress: PackOptions['onProgress'] = (event) => {
        if (event.type === 'advance' && (event.bytes ?? 0) > 0 && ++volumesSeen === 9) stop.abort();
      };
      await assert.rejects(packShipment({ ...options, onProgress, signal: stop.signal }), { name: 'AbortError' });
      assert.ok(!(await readdir(folder)).includes('manifest.json'));
      const finished = await packShipment(options);
      assert.equal(finished.folder, folder);
      assert.ok(finished.reusedVolumes > 0);
      assert.ok(!(await readdir(folder)).includes('UNFINISHED.json'));
      execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: folder });
    });
  });

  test('packShipment writes a volume anew when one of an earlier attempt does not read back', async () => {
    await withSender(async (_, __, options) => {
      const stop = new AbortController();
      let members = 0;
      const onProgress: PackOptions['onProgress'] = (event) => {
        if (event.type === 'advance' && (event.bytes ?? 0) > 0 && ++members === 9) stop.abort();
      };
      await assert.rejects(packShipment({ ...options, onProgress, signal: stop.signal }));
      await flipBit(join(options.to, 'plant-7-0001/volumes/0001-001.tar'), 700);
      const finished = await packShipment(options);
      assert.equal(finished.reusedVolumes, 0);
      execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: finished.folder });
    });
  });

  test('packShipment keeps number and folder when an attempt was killed before it wrote its first file', async () => {
    await withSender(async (sender, _, options) => {
      await writeSent(sender.mirror, { format: 1, site: 'plant-7', sequence: 1, attempt: 'a', state: 'begun' });
      await mkdir(join(options.to, 'plant-7-0001'), { recursive: true });
      await writeFile(join(options.to, 'plant-7-0001', '.tmp-1'), 'half a journal');
      const { folder } = await packShipment(options);
      assert.deepEqual(await readdir(options.to), ['plant-7-0001']);
      execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: folder });
      assert.ok(!(await readdir(folder)).includes('.tmp-1'));
    });
  });

  test('packShipment throws target-occupied when the folder holds something else', async () => {
    await withSender(async (sender, _, options) => {
      await mkdir(join(options.to, 'plant-7-0001'), { recursive: true });
      await writeFile(join(options.to, 'plant-7-0001', 'thesis.doc'), 'mine');
      await assert.rejects(packShipment(options), hasCode('target-occupied', /thesis\.doc/));
      assert.equal(await readFile(join(options.to, 'plant-7-0001', 'thesis.doc'), 'utf8'), 'mine');
      await assert.rejects(
        packShipment({ ...options, to: join(sender.mirror.directory, 'out') }),
        hasCode('target-occupied'),
      );
    });
  });

  test('packShipment throws target-occupied when it is pointed into a shipment', async () => {
    await withSender(async (_, __, options) => {
      const { folder } = await packShipment(options);
      await assert.rejects(
        packShipment({ ...options, to: folder }),
        hasCode('target-occupied', /is a shipment itself/),
      );
    });
  });

  test('packShipment throws damage and seals nothing when a NAR of the mirror is damaged', async () => {
    for (const name of ['app', 'big']) {
      await withSender(async (sender, _, options) => {
        const { url } = infoOf(sender.paths, name);
        await flipBit(join(sender.mirror.directory, url), 1000);
        await assert.rejects(packShipment(options), hasCode('damage', new RegExp(`-${name},.*nixferry verify`)));
        assert.ok(!(await readdir(join(options.to, 'plant-7-0001'))).includes('manifest.json'));
      });
    }
  });

  test('packShipment throws no-space before it writes a volume when the medium is too small', async () => {
    await withSender(async (sender, _, options) => {
      const info = infoOf(sender.paths, 'app');
      const file = join(sender.mirror.directory, `${info.storePath.slice(11, 43)}.narinfo`);
      const text = await readFile(file, 'utf8');
      await writeFile(file, text.replace(/FileSize: .*/, `FileSize: ${2 ** 44}`));
      const large = { ...options, volumeSizeBytes: 4 * 1024 ** 3 - 1024 ** 2 };
      await assert.rejects(packShipment(large), hasCode('no-space', /17\.6 TB.* are free/));
      assert.deepEqual(await readdir(join(options.to, 'plant-7-0001')), ['UNFINISHED.json']);
    });
  });

  test('packShipment throws usage when site, volume size or roots make no sense', async () => {
    await withSender(async (_, __, options) => {
      for (const site of ['', '../x', 'a b', '-x', 'x'.repeat(41), 'plant.']) {
        await assert.rejects(packShipment({ ...options, site }), hasCode('usage'));
      }
      for (const volumeSizeBytes of [0, 8191, 4 * 1024 ** 3]) {
        await assert.rejects(packShipment({ ...options, volumeSizeBytes }), hasCode('usage'));
      }
      await assert.rejects(packShipment({ ...options, roots: [] }), hasCode('usage', /collect/));
    });
  });

  test('packShipment throws upstream-incomplete when a root is not complete in the mirror', async () => {
    await withSender(async (_, __, options) => {
      const roots = options.roots.map((root) => ({ ...root, complete: false }));
      await assert.rejects(packShipment({ ...options, roots }), hasCode('upstream-incomplete', /nixferry collect app/));
    });
  });
});
