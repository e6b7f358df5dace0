import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { copyOwnPaths, inOwnStore, ownStoreDir, rewriter } from './own-store.ts';

const NIX = `${'a'.repeat(32)}-nix`;
const GLIBC = `${'b'.repeat(32)}-glibc`;
const OTHER = `${'c'.repeat(32)}-other`;

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nixferry-own-store-'));
});
after(() => rm(folder, { recursive: true, force: true }));

test('ownStoreDir is as long as the store folder, whatever that is', () => {
  for (const storeDir of ['/nix/store', '/s', '/home/anna/software/nix/store']) {
    assert.equal(ownStoreDir(storeDir).length, storeDir.length);
    assert.notEqual(ownStoreDir(storeDir), storeDir);
  }
  assert.equal(inOwnStore(`/nix/store/${NIX}/bin/nix`, '/nix/store'), `/own-store/${NIX}/bin/nix`);
});

test('rewriter changes mentions of the closure in place, and nothing else', () => {
  const rewrite = rewriter({ storeDir: '/nix/store', paths: [`/nix/store/${NIX}`, `/nix/store/${GLIBC}`] });
  const text = `\0/nix/store/${NIX}/lib\0/nix/store\0/nix/store/${OTHER}:/nix/store/${GLIBC}/nix/store/short`;
  const expected = `\0/own-store/${NIX}/lib\0/nix/store\0/nix/store/${OTHER}:/own-store/${GLIBC}/nix/store/short`;
  assert.equal(rewrite(Buffer.from(text)).toString(), expected);
});

test('copyOwnPaths copies files, links and what is a program, each path once', async () => {
  const store = join(folder, 'store');
  await mkdir(join(store, NIX, 'bin'), { recursive: true });
  await writeFile(join(store, NIX, 'bin/nix'), `#!/nix/store/${GLIBC}/sh\n`);
  await chmod(join(store, NIX, 'bin/nix'), 0o555);
  await symlink(`/nix/store/${NIX}/bin/nix`, join(store, NIX, 'bin/nix-store'));
  await writeFile(join(store, GLIBC), 'plain');
  const own = { storeDir: '/nix/store', paths: [join(store, NIX), join(store, GLIBC)] };
  const target = join(folder, 'copy');
  const { signal } = new AbortController();
  await copyOwnPaths(own, target, signal);
  await copyOwnPaths(own, target, signal);
  assert.equal(await readFile(join(target, NIX, 'bin/nix'), 'utf8'), `#!/own-store/${GLIBC}/sh\n`);
  assert.equal(await readlink(join(target, NIX, 'bin/nix-store')), `/own-store/${NIX}/bin/nix`);
  assert.equal((await stat(join(target, NIX, 'bin/nix'))).mode & 0o111, 0o111);
  assert.equal((await stat(join(target, GLIBC))).mode & 0o111, 0);
});
