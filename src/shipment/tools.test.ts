import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { access, constants, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { makeTempFolder, makeTestMirror, makeTestRoot, PACK, SMALL_CLOSURE } from '../../test/support/shipments.ts';
import { NixferryError } from '../base/errors.ts';
import { parseManifest } from './manifest.ts';
import { packShipment } from './pack.ts';
import { formatReadMe } from './read-me.ts';
import { readTools, writeTools } from './tools.ts';

/** Files that look like tools, with their list. */
async function makeTools(folder: string): Promise<string> {
  await mkdir(join(folder, 'x64'), { recursive: true });
  await writeFile(join(folder, 'nixferry'), '#!/bin/sh\necho launched\n');
  await writeFile(join(folder, 'x64/nixferry'), Buffer.alloc(3_000_000, 'program'));
  await writeFile(join(folder, 'notes'), 'not in the list');
  execFileSync('sh', ['-c', 'sha256sum nixferry x64/nixferry > SHA256SUMS'], { cwd: folder });
  return folder;
}

function isToolsMissing(error: unknown): boolean {
  return error instanceof NixferryError && error.code === 'tools-missing' && /--no-tools/.test(error.hint ?? '');
}

suite('tools', { concurrency: 4 }, () => {
  test('writeTools copies what the list names, and nothing else, as programs', async () => {
    await using temp = await makeTempFolder();
    const tools = await readTools(await makeTools(join(temp.folder, 'tools')));
    assert.deepEqual(
      tools.files.map(({ name, sizeBytes }) => [name, sizeBytes > 0]),
      [
        ['SHA256SUMS', true],
        ['nixferry', true],
        ['x64/nixferry', true],
      ],
    );
    const target = join(temp.folder, 'medium');
    await writeTools(tools, target);
    execFileSync('sha256sum', ['--check', '--quiet', 'SHA256SUMS'], { cwd: target });
    await access(join(target, 'x64/nixferry'), constants.X_OK);
    await assert.rejects(access(join(target, 'notes')));
    assert.equal(execFileSync(join(target, 'nixferry')).toString(), 'launched\n');
  });

  test('readTools throws tools-missing when there is no list, no launcher, or a file is gone', async () => {
    await using temp = await makeTempFolder();
    await assert.rejects(readTools(join(temp.folder, 'nothing')), isToolsMissing);
    const folder = await makeTools(join(temp.folder, 'tools'));
    await rm(join(folder, 'x64/nixferry'));
    await assert.rejects(readTools(folder), isToolsMissing);
    execFileSync('sh', ['-c', 'sha256sum notes > SHA256SUMS'], { cwd: folder });
    await assert.rejects(readTools(folder), isToolsMissing);
  });

  test('readTools refuses a list that leads out of the folder or is none', async () => {
    await using temp = await makeTempFolder();
    const folder = await makeTools(join(temp.folder, 'tools'));
    const list = await readFile(join(folder, 'SHA256SUMS'), 'utf8');
    await symlink('/etc/passwd', join(temp.folder, 'outside'));
    for (const line of [`${'0'.repeat(64)}  ../outside`, `${'0'.repeat(64)}  /etc/passwd`, 'words']) {
      await writeFile(join(folder, 'SHA256SUMS'), `${list}${line}\n`);
      await assert.rejects(readTools(folder), isToolsMissing, line);
    }
  });

  test('writeTools throws tools-missing when a file has changed since the list was made', async () => {
    await using temp = await makeTempFolder();
    const tools = await readTools(await makeTools(join(temp.folder, 'tools')));
    await writeFile(join(tools.folder, 'x64/nixferry'), 'another program');
    await assert.rejects(writeTools(tools, join(temp.folder, 'medium')), isToolsMissing);
  });

  test('packShipment writes the tools, states their hashes in the signed manifest, and says how to start them', async () => {
    await using temp = await makeTempFolder();
    await using sender = await makeTestMirror(join(temp.folder, 'sender'), SMALL_CLOSURE);
    const tools = await readTools(await makeTools(join(temp.folder, 'tools')));
    const roots = [makeTestRoot(sender.paths, 'app', ['app'])];
    const options = { ...PACK, mirror: sender.mirror, roots, to: join(temp.folder, 'medium') };
    const { folder } = await packShipment({ ...options, tools });
    execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: folder });
    assert.match(await readFile(join(folder, 'SHA256SUMS'), 'utf8'), / {2}tools\/x64\/nixferry\n/);
    const manifest = parseManifest(await readFile(join(folder, 'manifest.json')), 'manifest');
    assert.deepEqual(manifest.tools, tools.files);
    assert.match(
      await readFile(join(folder, 'READ-ME-FIRST.txt'), 'utf8'),
      /x86_64\.\n.*\n\n {2}sh \S+\/tools\/nixferry import/,
    );
    const without = await packShipment(options);
    assert.deepEqual(without.manifest.tools, []);
    assert.doesNotMatch(formatReadMe(without.manifest), /tools/);
  });

  test('parseManifest names the Nixferry on the medium when a newer one is needed, and only when there is one', () => {
    const newer = { format: 9, minReader: 9 };
    assert.equal(
      hintOf({ ...newer, tools: [{ unknown: 'to us' }] }),
      'the shipment brings one along: sh /media/stick/lab-0009/tools/nixferry import /media/stick/lab-0009',
    );
    assert.match(hintOf(newer) ?? '', /bring a Nixferry/);
  });
});

function hintOf(manifest: object): string | undefined {
  try {
    parseManifest(Buffer.from(JSON.stringify(manifest)), '/media/stick/lab-0009/manifest.json');
  } catch (error) {
    if (error instanceof NixferryError && error.code === 'newer-format') return error.hint;
    throw error;
  }
  return undefined;
}
