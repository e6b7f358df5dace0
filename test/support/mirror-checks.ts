import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { hashNarFile } from '../../src/mirror/hash-nar-file.ts';
import { hashPartOfNarInfoName } from '../../src/mirror/layout.ts';
import type { Mirror } from '../../src/mirror/mirror.ts';
import { findMismatch } from '../../src/mirror/nar-hash.ts';
import type { NarInfo } from '../../src/nix/narinfo.ts';
import { hashPartOf } from '../../src/nix/store-path.ts';

/** All that clients of a mirror see. */
export async function visibleNarInfos(mirror: Mirror): Promise<NarInfo[]> {
  const infos: NarInfo[] = [];
  for await (const name of mirror.storage.list('', { shallow: true })) {
    const hashPart = hashPartOfNarInfoName(name);
    if (hashPart === undefined) continue;
    const info = await mirror.readNarInfo(hashPart);
    assert.ok(info !== undefined);
    infos.push(info);
  }
  return infos;
}

/** Fails unless every visible path has its NAR, whole, and all of its references are visible too. Gives the number of paths. */
export async function assertNothingHalfVisible(mirror: Mirror): Promise<number> {
  const infos = await visibleNarInfos(mirror);
  for (const info of infos) {
    const file = join(mirror.directory, info.url);
    assert.equal((await stat(file)).size, info.fileSizeBytes);
    assert.equal(findMismatch(await hashNarFile(file, info), info), undefined);
    for (const reference of info.references) {
      assert.ok(await mirror.hasPath(hashPartOf(reference)), `${info.storePath} refers to ${reference}`);
    }
  }
  return infos.length;
}

/** Every row of the index, to compare two of them. */
export async function indexRows(mirror: Mirror): Promise<unknown[]> {
  const rows: unknown[] = [];
  for (const hashPart of await mirror.index.hashParts()) {
    rows.push([await mirror.index.get(hashPart), await mirror.index.references(hashPart)]);
  }
  return rows;
}
