import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { findFailures } from './missing.ts';
import type { NixStory, Saying } from './nix-messages.ts';

const A = '/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a';
const B = '/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-b';

let root = '';
const outside = (path: string): string => join(root, path);
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'nixferry-missing-'));
  await mkdir(outside('/nix/store'), { recursive: true });
});
after(() => rm(root, { recursive: true, force: true }));

function story(said: readonly (string | Saying)[], built: readonly string[] = []): NixStory {
  const sayings = said.map((text): Saying => (typeof text === 'string' ? { kind: 'error', text } : text));
  return { built, fetched: [], said: sayings, buildLogs: new Map() };
}

function info(text: string): Saying {
  return { kind: 'info', text };
}

function derivation(output: string, hash: string): string {
  return `Derive([("out","${output}",${hash})],[],[],"x86_64-linux","/bin/sh",[],[])`;
}

// As Nix 2.8 and newer ones word it.
const WORDS = [
  [`error: path '${A}' is required, but there is no substituter that can build it`, A],
  [`error: path '${A}' is not valid`, A],
  [`error: cannot build missing derivation '${A}.drv'`, `${A}.drv`],
  ["error: unable to download 'http://x/y.tgz': Couldn't resolve host name (6)", 'http://x/y.tgz'],
  [
    "error: cannot fetch input 'path:./common?lastModified=1' because it uses a relative path",
    'path:./common?lastModified=1',
  ],
  [`error: cannot add path '${A}' because it lacks a signature by a trusted key`, A],
] as const;

for (const [text, what] of WORDS) {
  test(`findFailures names ${what} when Nix says: ${text}`, async () => {
    const { missing, failed } = await findFailures(story([text]), '/nix/store', outside);
    assert.deepEqual([missing, failed], [[{ what, derivation: undefined }], []]);
  });
}

test('findFailures names each path of a list that Nix does not know how to build, and nothing of other lists', async () => {
  const said = [
    info('these derivations will be built:'),
    info(`  ${B}.drv`),
    info("don't know how to build these paths:"),
    info(`  ${A}`),
    info(`  ${B}`),
    info('something else'),
    info(`  ${B}.drv`),
  ];
  const { missing } = await findFailures(story(said), '/nix/store', outside);
  assert.deepEqual(
    missing.map(({ what }) => what),
    [A, B],
  );
});

test('findFailures tells a source that could not be downloaded from a builder that failed, and from one that did not', async () => {
  const files = {
    [`${A}-source.drv`]: derivation(`${A}-source`, `"sha256","${'0'.repeat(64)}"`),
    [`${A}-broken.drv`]: derivation(`${A}-broken`, '"",""'),
    [`${A}-good.drv`]: derivation(`${A}-good`, '"",""'),
    [`${A}-good`]: '',
    [`${A}-newer.drv`]: 'Derive of another time',
  };
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(outside(path)), { recursive: true });
    await writeFile(outside(path), text);
  }
  const built = Object.keys(files).filter((path) => path.endsWith('.drv'));
  const { missing, failed } = await findFailures(story([], built), '/nix/store', outside);
  assert.deepEqual(missing, [{ what: `${A}-source`, derivation: `${A}-source.drv` }]);
  assert.deepEqual(failed, [`${A}-broken.drv`]);
});
