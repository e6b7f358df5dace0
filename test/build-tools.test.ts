// Whoever checks the program on the medium builds it again from the sources, and compares.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';
import { bundle } from '../scripts/build-tools/bundle.ts';
import { makeBlob } from '../scripts/build-tools/executable.ts';
import { repositoryRoot } from './support/nixferry.ts';

test('makeBlob gives the same bytes again when it is given the same', async () => {
  const packageFile = createRequire(import.meta.url).resolve(`node-linux-${process.arch}/package.json`);
  const node = path.join(path.dirname(packageFile), 'bin/node');
  const parts = { node, runsHere: true, main: await bundle(repositoryRoot), root: repositoryRoot };
  const blob = await makeBlob(parts);
  assert.ok(blob.equals(await makeBlob(parts)));
});
