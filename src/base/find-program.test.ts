import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { findProgram } from './find-program.ts';

test('findProgram passes over folders, plain files and relative entries of the PATH', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-path-'));
  try {
    for (const name of ['a', 'b', 'c']) await mkdir(join(folder, name));
    await mkdir(join(folder, 'a', 'tool'));
    await writeFile(join(folder, 'b', 'tool'), '');
    await writeFile(join(folder, 'c', 'tool'), '#!/bin/sh\n');
    await chmod(join(folder, 'c', 'tool'), 0o755);
    const good = join(folder, 'c');
    assert.equal(
      findProgram('tool', ['/missing', join(folder, 'a'), join(folder, 'b'), good].join(':')),
      join(good, 'tool'),
    );
    assert.equal(findProgram('tool', relative(process.cwd(), good)), undefined);
    assert.equal(findProgram('tool', ''), undefined);
  } finally {
    await rm(folder, { recursive: true });
  }
});
