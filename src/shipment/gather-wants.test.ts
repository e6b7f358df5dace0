import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openMirror } from '../mirror/mirror.ts';
import { openMisses } from '../mirror/misses.ts';
import { writeRoot } from '../mirror/roots.ts';
import type { StorePathBaseName } from '../nix/index.ts';
import { gatherMisses } from './gather-wants.ts';

test('gatherMisses leaves out what has come since, and forgets it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nixferry-wants-'));
  try {
    await using mirror = await openMirror(directory, { access: 'write', create: true });
    assert.equal(await gatherMisses(mirror), undefined, 'nobody has served yet');
    const table = openMisses(mirror.layout.missesFile);
    table.add([flake('nixpkgs'), flake('nixpkgs/nixos-99.11'), flake('other'), channel('here'), channel('elsewhere')]);
    table.close();
    await mirror.storage.write('channels/here/release.json', '{}');
    const path = `${'0'.repeat(32)}-source` as StorePathBaseName;
    const original = { type: 'github', owner: 'NixOS', repo: 'nixpkgs', ref: 'nixos-99.11' };
    await writeRoot(mirror, {
      format: 1,
      id: 'web01',
      name: 'web01',
      request: 'web01',
      scope: 'reconfigure',
      rootPaths: [],
      paths: [path],
      complete: true,
      origin: 'imported',
      evaluationInputs: [
        { kind: 'flake', name: 'nixpkgs', path, locked: { type: 'github', lastModified: 1 }, original },
      ],
    });
    const wanted = [channel('elsewhere'), flake('other')];
    assert.deepEqual(await gatherMisses(mirror), wanted);
    assert.deepEqual(await gatherMisses(mirror), wanted);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

const flake = (name: string) => ({ kind: 'flake', name, count: 1 }) as const;
const channel = (name: string) => ({ kind: 'channel', name, count: 1 }) as const;
