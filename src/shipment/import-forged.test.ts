import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { type ForgedEntry, type ForgedPath, forgeStream, overNar } from '../../test/support/forge-stream.ts';
import {
  forge,
  infoOf,
  makeTestRoot,
  makeTestShipment,
  openSite,
  PACK,
  type TestPath,
  type TestShipment,
  visiblePaths,
} from '../../test/support/shipments.ts';
import { NixferryError } from '../base/errors.ts';
import { readRoots } from '../mirror/roots.ts';
import { hashPartOf } from '../nix/index.ts';
import { importShipment } from './import.ts';
import { importProblem } from './import-problem.ts';
import { packShipment } from './pack.ts';

// Shipments that agree with themselves in everything, signed by a sender who is trusted, with one lie each.

const PATHS: readonly TestPath[] = [
  { name: 'libc', contents: Buffer.from('libc') },
  { name: 'app', contents: Buffer.from('app'), references: ['libc'] },
];

const makeShipment = (): Promise<TestShipment> =>
  makeTestShipment({ paths: PATHS, rootNames: ['libc', 'app'], volumeSizeBytes: 1_000_000 });

type Change = (entries: ForgedEntry[]) => ForgedEntry[];

function isPath(entry: ForgedEntry): entry is ForgedPath {
  return entry.type === 'path';
}

/** Changes the entry of the path `app`, which comes last. */
function changeApp(change: (app: ForgedPath) => ForgedPath): Change {
  return (entries) =>
    entries.map((entry) => (isPath(entry) && entry.line.path.endsWith('-app') ? change(entry) : entry));
}

function addAfterApp(make: (app: ForgedPath) => ForgedEntry): Change {
  return (entries) => [...entries, make(entries.findLast(isPath) as ForgedPath)];
}

function addFiles(...names: readonly string[]): Change {
  return (entries) => [...entries, ...names.map((name) => ({ type: 'file' as const, name, bytes: Buffer.from(name) }))];
}

/** The narinfo that says what the line says. */
function told(entry: ForgedPath): ForgedPath {
  const { line, narInfo } = entry;
  const { compression, name, fileHash, sizeBytes } = line.nar;
  const text = narInfo
    .toString()
    .replace(/^StorePath: .*$/m, `StorePath: /nix/store/${line.path}`)
    .replace(/^URL: .*$/m, `URL: ${name}`)
    .replace(/^Compression: .*$/m, `Compression: ${compression}`)
    .replace(/^FileHash: .*$/m, `FileHash: ${fileHash}`)
    .replace(/^FileSize: .*$/m, `FileSize: ${sizeBytes}`)
    .replace(/^NarHash: .*$/m, `NarHash: ${line.narHash}`)
    .replace(/^NarSize: .*$/m, `NarSize: ${line.narSizeBytes}`);
  return { ...entry, narInfo: Buffer.from(text) };
}

async function importForged(
  shipment: TestShipment,
): Promise<{ error: NixferryError; visible: string[]; partial: string[] }> {
  await using site = await openSite(shipment);
  const trust = [shipment.sender.publicKey];
  try {
    const problem = importProblem(await importShipment({ mirror: site, directories: [shipment.folder], trust }));
    assert.ok(problem !== undefined, 'it was imported as if nothing were wrong with it');
    return { error: problem, visible: await visiblePaths(site), partial: await readdir(site.layout.partialFolder) };
  } catch (error) {
    assert.ok(error instanceof NixferryError, String(error));
    return { error, visible: await visiblePaths(site), partial: await readdir(site.layout.partialFolder) };
  }
}

/** Refused as a whole, before a volume is read. */
const REFUSED: Readonly<Record<string, { change: Change; message: RegExp }>> = {
  'a path that stands there twice': {
    change: addAfterApp((app) => ({ ...app, nar: undefined })),
    message: /-app stands there twice/,
  },
  'a path with the digits of another': {
    change: addAfterApp((app) =>
      told({ ...app, nar: undefined, line: { ...app.line, path: `${app.line.path.slice(0, 33)}other` } }),
    ),
    message: /-other stands there twice/,
  },
  'a path that differs from another by case alone': {
    change: addAfterApp((app) =>
      told({ ...app, nar: undefined, line: { ...app.line, path: app.line.path.replace('-app', '-App') } }),
    ),
    message: /-App stands there twice/,
  },
  'a file that stands there twice': {
    change: addFiles('log/a.drv', 'log/a.drv'),
    message: /log\/a\.drv stands there twice/,
  },
  'a file that differs from another by case alone': {
    change: addFiles('log/a.drv', 'log/A.drv'),
    message: /log\/A\.drv stands there twice/,
  },
  'a root that does not hold what one of its paths refers to': {
    change: (entries) =>
      entries.map((entry) =>
        isPath(entry) && entry.line.path.endsWith('-libc') ? { ...entry, line: { ...entry.line, roots: [0] } } : entry,
      ),
    message: /a root holds .*-app, but not its reference .*-libc/,
  },
  'a root that does not hold what it is a root for': {
    change: (entries) => {
      const app = entries.findLast(isPath) as ForgedPath;
      return entries.map((entry) =>
        entry.type === 'root' ? { ...entry, line: { ...entry.line, rootPaths: [app.line.path] } } : entry,
      );
    },
    message: /the root libc does not hold what it is a root for/,
  },
  'a second nix-cache-info': { change: addFiles('nix-cache-info'), message: /nix-cache-info/ },
  'a folder too many': {
    change: (entries) => [...entries, { type: 'folder', name: 'nar/' }],
    message: /the folders are not in their order/,
  },
  'a path in front of the folders': {
    change: (entries) => [...entries.slice(0, 2), ...entries.filter(isPath), ...entries.slice(2, 6)],
    message: /comes before the folders/,
  },
  'a NAR that two paths share and describe in two ways': {
    change: addAfterApp((app) =>
      told({
        ...app,
        nar: undefined,
        line: { ...app.line, path: `${'0'.repeat(32)}-twin`, narSizeBytes: app.line.narSizeBytes + 8 },
      }),
    ),
    message: /shares a NAR, but says other things of it/,
  },
};

/** Found when the volumes are read: `libc` is whole and imported, `app` is not. */
const DAMAGED: Readonly<Record<string, { change: Change; message: RegExp }>> = {
  'another NarHash': {
    change: changeApp((app) => told({ ...app, line: { ...app.line, narHash: `sha256:${'1'.repeat(52)}` } })),
    message: /NarHash/,
  },
  'a NarSize that is too small': {
    change: changeApp((app) => told({ ...app, line: { ...app.line, narSizeBytes: app.line.narSizeBytes - 8 } })),
    message: /more than the \d+ bytes/,
  },
  'a NarSize that is too large': {
    change: changeApp((app) => told({ ...app, line: { ...app.line, narSizeBytes: app.line.narSizeBytes + 8 } })),
    message: /NarSize|bytes/,
  },
  'another FileHash': {
    change: changeApp((app) => {
      const other = overNar(app.line, Buffer.from('other'), 'zstd');
      return told({ ...app, line: { ...other, nar: { ...other.nar, sizeBytes: app.line.nar.sizeBytes } } });
    }),
    message: /FileHash/,
  },
  'a narinfo with other references than the inventory': {
    change: changeApp((app) => ({ ...app, line: { ...app.line, references: [] } })),
    message: /says other things than the inventory/,
  },
  'a narinfo of another path': {
    change: (entries) => {
      const libc = entries.find(isPath) as ForgedPath;
      return changeApp((app) => ({ ...app, narInfo: libc.narInfo }))(entries);
    },
    message: /says other things than the inventory/,
  },
  'a narinfo that cannot be read': {
    change: changeApp((app) => ({ ...app, narInfo: Buffer.from('StorePath: ../../etc/passwd\n') })),
    message: /narinfo of .*-app cannot be read/,
  },
  'a NAR that is a zstd bomb': { change: changeApp((app) => bombOf(app, 'zstd')), message: /-app/ },
  'a NAR that is a gzip bomb': { change: changeApp((app) => bombOf(app, 'gzip')), message: /-app/ },
  'a NAR that is no zstd at all': {
    change: changeApp((app) => {
      const nar = Buffer.from('no zstd at all');
      return told({ ...app, nar, line: overNar(app.line, nar, 'zstd') });
    }),
    message: /-app/,
  },
};

/** A NAR file that decodes to very much more than its NarSize. */
function bombOf(app: ForgedPath, compression: 'zstd' | 'gzip'): ForgedPath {
  const zeros = Buffer.alloc(8 * 1024 * 1024);
  const nar = compression === 'zstd' ? zstdCompressSync(zeros) : gzipSync(zeros);
  return told({ ...app, nar, line: overNar(app.line, nar, compression) });
}

suite('importing what agrees with itself and lies all the same', { concurrency: 4 }, () => {
  for (const [name, { change, message }] of Object.entries(REFUSED)) {
    test(`importShipment throws damage and takes in nothing when a shipment has ${name}`, async () => {
      await using shipment = await makeShipment();
      await forgeStream(shipment, change);
      const { error, visible, partial } = await importForged(shipment);
      assert.deepEqual([error.code, error.exitCode], ['damage', 14]);
      assert.match(error.message, message);
      assert.deepEqual([visible, partial], [[], []]);
    });
  }

  for (const [name, { change, message }] of Object.entries(DAMAGED)) {
    test(`importShipment takes in all but the one path when a shipment has ${name}`, async () => {
      await using shipment = await makeShipment();
      await forgeStream(shipment, change);
      const { error, visible, partial } = await importForged(shipment);
      assert.deepEqual([error.code, error.exitCode], ['damage', 14]);
      assert.match(error.message, message);
      assert.deepEqual([visible, partial], [['libc'], []]);
    });
  }

  test('forgeStream makes what is imported when nothing in it is a lie', async () => {
    await using shipment = await makeShipment();
    await forgeStream(shipment, (entries) => entries);
    await using site = await openSite(shipment);
    const trust = [shipment.sender.publicKey];
    const result = await importShipment({ mirror: site, directories: [shipment.folder], trust });
    assert.equal(importProblem(result), undefined);
    assert.deepEqual(await visiblePaths(site), ['app', 'libc']);
  });

  test('importShipment throws not-trusted when manifest.sig holds what the sender signed of a path', async () => {
    await using shipment = await makeShipment();
    const info = infoOf(shipment.paths, 'app');
    const narInfo = await shipment.sender.readNarInfo(hashPartOf(info.storePath));
    await writeFile(join(shipment.folder, 'manifest.sig'), `${narInfo?.signatures[0]}\n`);
    const { error, visible } = await importForged(shipment);
    assert.deepEqual([error.code, error.exitCode, visible], ['not-trusted', 12, []]);
  });

  test('importShipment throws damage when a line of the inventory is endless', async () => {
    await using shipment = await makeShipment();
    await forge(shipment, { records: (records) => [...records, { type: 'path', path: 'x'.repeat(9 * 1024 * 1024) }] });
    const { error, visible } = await importForged(shipment);
    assert.deepEqual([error.code, visible], ['damage', []]);
    assert.match(error.message, /a line of the inventory is longer than/);
  });

  /** What may lie in the place of a file. */
  const STAND_INS: Readonly<Record<string, (file: string) => Promise<void>>> = {
    'a pipe': async (file) => void execFileSync('mkfifo', [file]),
    'a link to a device': (file) => symlink('/dev/zero', file),
    'a link to itself': (file) => symlink(file, file),
    'a folder': async (file) => void execFileSync('mkdir', [file]),
  };

  for (const [what, make] of Object.entries(STAND_INS)) {
    test(`importShipment neither hangs nor takes anything in when ${what} is in the place of a file`, async () => {
      const expected = {
        'manifest.json': 'not-a-shipment',
        'inventory.jsonl.zst': 'damage',
        'volumes/0001-001.tar': 'import-partial',
      };
      for (const [name, code] of Object.entries(expected)) {
        await using shipment = await makeShipment();
        const file = join(shipment.folder, name);
        await rm(file);
        await make(file);
        const { error, visible } = await importForged(shipment);
        assert.deepEqual([error.code, visible], [code, []], name);
      }
    });
  }

  test('importShipment adds paths and moves no root back when an older shipment is played again', async () => {
    await using shipment = await makeShipment();
    const to = join(shipment.temp, 'medium');
    const request = { name: 'tool', request: 'tool', id: 'tool' };
    const pack = (name: string) => {
      const roots = [{ ...makeTestRoot(shipment.paths, name, [name]), ...request }];
      return packShipment({ ...PACK, mirror: shipment.sender, roots, to });
    };
    const older = await pack('libc');
    const newer = await pack('app');
    await using site = await openSite(shipment);
    const trust = [shipment.sender.publicKey];
    for (const { folder } of [newer, older, newer, older]) {
      assert.equal(importProblem(await importShipment({ mirror: site, directories: [folder], trust })), undefined);
      const roots = await readRoots(site);
      assert.deepEqual(
        roots.map((root) => [root.name, root.shipment?.sequence, root.paths.length]),
        [['tool', newer.manifest.sequence, 2]],
      );
    }
    assert.deepEqual(await visiblePaths(site), ['app', 'libc']);
  });
});
