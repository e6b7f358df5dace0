import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import type { EvaluationInputsList } from '../mirror/evaluation-inputs.ts';
import type { FlakeReference } from '../mirror/roots.ts';
import type { StorePathBaseName } from '../nix/index.ts';
import { relock } from './relock.ts';

const PATH = `${'0'.repeat(32)}-source` as StorePathBaseName;
const ORIGINAL = { type: 'github', owner: 'NixOS', repo: 'nixpkgs', ref: 'nixos-99.11' };
const lockedAt = (rev: string, lastModified: number) => ({
  type: 'github',
  owner: 'NixOS',
  repo: 'nixpkgs',
  rev,
  lastModified,
  narHash: `sha256-${rev}`,
});
const OLD = lockedAt('old', 10);
const NEW = lockedAt('new', 20);
const OTHER = { locked: { type: 'git', url: 'https://example.org/x', narHash: 'sha256-x' }, original: { type: 'git' } };

test('relock moves an input to the newest revision that was asked for in the same words, and gives it its own type back', async () => {
  await using flake = await makeFlake();
  const result = await flake.relock({ shipped: [NEW, lockedAt('older', 15)] });
  assert.deepEqual(result.changed, [{ name: 'nixpkgs', from: 'old', to: 'new' }]);
  assert.deepEqual(result.unresolved, ['other']);
  const [locking] = flake.calls;
  assert.ok(locking?.includes('nixpkgs http://ferry:8080/sources/20/'), locking);
  const { nodes } = await flake.lock();
  assert.deepEqual(nodes['nixpkgs_2'], { inputs: { own: 'own' }, locked: NEW, original: ORIGINAL });
  assert.deepEqual(nodes['other'], OTHER);
});

test('relock changes nothing when the lock is at the newest revision, or an input is followed or was not named', async () => {
  await using flake = await makeFlake();
  assert.deepEqual(await flake.relock({ shipped: [OLD], inputs: ['nixpkgs', 'followed'] }), {
    changed: [],
    unchanged: ['nixpkgs'],
    unresolved: [],
  });
  assert.deepEqual(flake.calls, []);
  await assert.rejects(flake.relock({ shipped: [NEW], inputs: ['nixpgks'] }), { code: 'usage' });
});

test('relock leaves the lock as it was when Nix refuses the new one, or the mirror has another tree', async () => {
  await using flake = await makeFlake();
  const before = await readFile(flake.file);
  await assert.rejects(flake.relock({ shipped: [NEW], refuses: 'metadata' }), { code: 'nix-failed' });
  assert.deepEqual(await readFile(flake.file), before);
  await assert.rejects(flake.relock({ shipped: [NEW], narHash: 'sha256-wrong' }), { code: 'damage' });
  assert.deepEqual(await readFile(flake.file), before);
});

test('relock says what to do when the flake was never locked and asks for nothing that was shipped', async () => {
  await using flake = await makeFlake();
  await rm(flake.file);
  await assert.rejects(flake.relock({ shipped: [NEW] }), { code: 'usage' });
});

test('relock locks an input that flake.nix has anew or asks for otherwise, and nothing where one of these was not shipped', async () => {
  await using flake = await makeFlake();
  const next = { ...ORIGINAL, ref: 'nixos-00.05' };
  const declared = { nixpkgs: { url: 'github:NixOS/nixpkgs/nixos-00.05' } };
  assert.deepEqual((await flake.relock({ shipped: [NEW], declared })).changed, [
    { name: 'nixpkgs', from: 'old', to: 'x' },
  ]);
  const { nodes } = await flake.lock();
  assert.deepEqual(nodes['nixpkgs_2'], { inputs: { own: 'own' }, locked: lockedAt('x', 99), original: next });

  const elsewhere = { nixpkgs: { url: 'github:NixOS/nixpkgs/nowhere' } };
  assert.deepEqual(await flake.relock({ shipped: [NEW], declared: elsewhere, inputs: ['nixpkgs'] }), {
    changed: [],
    unchanged: [],
    unresolved: ['nixpkgs'],
  });

  await rm(flake.file);
  const again = await flake.relock({ shipped: [NEW], declared });
  assert.deepEqual(again.changed, [{ name: 'nixpkgs', from: undefined, to: 'x' }]);
  await rm(flake.file);
  const more = { ...declared, more: { url: 'github:a/more' } };
  assert.deepEqual(await flake.relock({ shipped: [NEW], declared: more }), {
    changed: [],
    unchanged: [],
    unresolved: ['more'],
  });
  await assert.rejects(readFile(flake.file), { code: 'ENOENT' });
});

test('relock tells Nix what a shipped input takes in turn, and leaves what follows another input', async () => {
  await using flake = await makeFlake();
  const nested = ['nixpkgs/utils', 'nixpkgs/shared'];
  const result = await flake.relock({ shipped: [NEW], inputs: ['nixpkgs'], nested });
  assert.deepEqual(result.changed, [{ name: 'nixpkgs', from: 'old', to: 'new' }]);
  assert.match(flake.calls[0] ?? '', / --override-input nixpkgs\/utils http:\/\/ferry:8080\/sources\/30\//);
  assert.ok(!flake.calls[0]?.includes('nixpkgs/shared'));
});

interface RelockCase {
  readonly shipped: readonly FlakeReference[];
  readonly inputs?: readonly string[];
  /** The command that Nix fails at. */
  readonly refuses?: string;
  /** What Nix finds in the mirror's tarball; what was asked for unless given. */
  readonly narHash?: string;
  /** As flake.nix has it. */
  readonly declared?: unknown;
  /** Names of what the shipped inputs take in turn. */
  readonly nested?: readonly string[];
}

function lockOf(nixpkgs: unknown, key: string) {
  return {
    nodes: { root: { inputs: { nixpkgs: key, followed: ['nixpkgs'], other: 'other' } }, [key]: nixpkgs, other: OTHER },
    root: 'root',
    version: 7,
  };
}

async function makeFlake() {
  const directory = await mkdtemp(join(tmpdir(), 'nixferry-relock-'));
  const file = join(directory, 'flake.lock');
  const calls: string[] = [];
  await writeFile(
    file,
    JSON.stringify(lockOf({ inputs: { shared: ['other'] }, locked: OLD, original: ORIGINAL }, 'nixpkgs')),
  );
  return {
    file,
    calls,
    lock: async () => JSON.parse(await readFile(file, 'utf8')) as { nodes: Record<string, unknown> },
    relock: ({ shipped, inputs = [], refuses = '', narHash, declared, nested = [] }: RelockCase) => {
      calls.length = 0;
      return relock({
        directory,
        inputs,
        list: listOf(shipped, nested),
        url: 'http://ferry:8080/',
        runNix: async (_program, args) => {
          if (args.includes('eval')) return Buffer.from(JSON.stringify(declared ?? {}));
          calls.push(args.join(' '));
          if (refuses !== '' && args.includes(refuses)) throw new NixferryError('nix-failed', 'no');
          const [, modified] = /--override-input nixpkgs \S+\/sources\/(\d+)\//.exec(args.join(' ')) ?? [];
          if (modified === undefined) return Buffer.of();
          const reference = { type: 'tarball', url: `http://ferry:8080/sources/${modified}/x.tar.gz` };
          const found = narHash ?? `sha256-${modified === '99' ? 'x' : 'new'}`;
          const node = { inputs: { own: 'own' }, locked: { ...reference, narHash: found }, original: reference };
          await writeFile(file, JSON.stringify(lockOf(node, 'nixpkgs_2')));
          return Buffer.of();
        },
      });
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

function listOf(shipped: readonly FlakeReference[], nested: readonly string[]): EvaluationInputsList {
  const inputs = shipped.map((locked) => ({
    kind: 'flake' as const,
    name: 'nixpkgs',
    path: PATH,
    locked,
    original: ORIGINAL,
  }));
  const elsewhere = { ...ORIGINAL, ref: 'nixos-00.05' };
  const newest = {
    kind: 'flake' as const,
    name: 'nixpkgs',
    path: PATH,
    locked: lockedAt('x', 99),
    original: elsewhere,
  };
  const inner = nested.map((name) => ({
    kind: 'flake' as const,
    name,
    path: `${'1'.repeat(32)}-source` as StorePathBaseName,
    locked: lockedAt('inner', 30),
    original: { type: 'github', owner: 'a', repo: name },
  }));
  const root = { name: 'web01', request: 'web01', complete: true };
  return { format: 1, storeDir: '/nix/store', roots: [{ id: 'a', ...root, inputs: [newest, ...inputs, ...inner] }] };
}
