import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { formatNarListing, narListing } from '../nix/nar-listing.ts';
import { writeNar } from '../nix/nar-writer.ts';
import { narNodeFromFileSystem } from './file-tree.ts';

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nixferry-tree-'));
});
after(() => rm(folder, { recursive: true, force: true }));

test('narNodeFromFileSystem keeps contents, links, order by bytes, and only the executable bit of the owner', async () => {
  const root = join(folder, 'tree');
  await mkdir(join(root, 'empty'), { recursive: true });
  const modes = { é: 0o755, z: 0o655, A: 0o100, a: 0o777, 'a.b': 0o444, '10': 0o644, '9': 0o644 };
  for (const [name, mode] of Object.entries(modes)) {
    await writeFile(join(root, name), 'x'.repeat(name === '9' ? 200_000 : 3));
    await chmod(join(root, name), mode);
  }
  await symlink('../nowhere', join(root, 'link'));
  const listing = await narListing(writeNar(await narNodeFromFileSystem(root)));
  const shown = formatNarListing(listing).replaceAll(/,"narOffset":\d+/g, '');
  const expected = {
    '10': '{"type":"regular","size":3}',
    '9': '{"type":"regular","size":200000}',
    A: '{"type":"regular","size":3,"executable":true}',
    a: '{"type":"regular","size":3,"executable":true}',
    'a.b': '{"type":"regular","size":3}',
    empty: '{"type":"directory","entries":{}}',
    link: '{"type":"symlink","target":"../nowhere"}',
    z: '{"type":"regular","size":3}',
    é: '{"type":"regular","size":3,"executable":true}',
  };
  const order = ['10', '9', 'A', 'a', 'a.b', 'empty', 'link', 'z', 'é'] as const;
  const entries = order.map((name) => `"${name}":${expected[name]}`).join(',');
  assert.equal(shown, `{"version":1,"root":{"type":"directory","entries":{${entries}}}}`);
});

test('narNodeFromFileSystem refuses pipes and devices', async () => {
  const root = join(folder, 'special');
  await mkdir(root);
  execFileSync('mkfifo', [join(root, 'pipe')]);
  const node = await narNodeFromFileSystem(root);
  await assert.rejects(narListing(writeNar(node)), { code: 'bad-root', message: /special\/pipe is a pipe/ });
  await assert.rejects(narNodeFromFileSystem('/dev/null'), { code: 'bad-root', message: /device/ });
});

test('narNodeFromFileSystem neither follows a link nor pads a file that has changed since it was looked at', async () => {
  const path = join(folder, 'changing');
  await writeFile(path, 'x'.repeat(100));
  const shortened = await narNodeFromFileSystem(path);
  await truncate(path, 50);
  await assert.rejects(narListing(writeNar(shortened)), /100 bytes announced ends after 50/);
  const replaced = await narNodeFromFileSystem(path);
  await rm(path);
  await symlink('/etc/passwd', path);
  await assert.rejects(narListing(writeNar(replaced)), { code: 'ELOOP' });
});
