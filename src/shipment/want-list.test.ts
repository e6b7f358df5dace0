import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generateSecretKey, type StorePathBaseName } from '../nix/index.ts';
import { formatWantList, parseWantList, type WantContents } from './want-list.ts';

const SECRET = generateSecretKey('lab-1', Buffer.alloc(32, 1));
const PATH = `${'0'.repeat(32)}-own.drv` as StorePathBaseName;
const CONTENTS: WantContents = {
  site: 'lab',
  storeDir: '/nix/store',
  misses: [{ kind: 'narinfo', name: '1'.repeat(32), count: 3 }],
  targets: [PATH],
  derivations: [{ path: PATH, bytes: Buffer.from([0xff, 0x00, 0x0a]) }],
};

test('parseWantList reads what formatWantList wrote', async () => {
  const list = await parseWantList(await formatWantList(CONTENTS, SECRET), 'here');
  assert.equal(list.hasSigned, true);
  assert.equal(list.key.name, 'lab-1');
  assert.deepEqual(list.header.misses, CONTENTS.misses);
  assert.deepEqual(list.header.targets, [PATH]);
  assert.deepEqual(list.derivations, CONTENTS.derivations);
});

test('formatWantList keeps repositories apart, so that readers which do not know them pass them over', async () => {
  const misses = [
    { kind: 'narinfo', name: '1'.repeat(32), count: 3 },
    { kind: 'repository', name: 'git.example.org/team/lib', count: 4 },
  ] as const;
  const bytes = await formatWantList({ ...CONTENTS, misses }, SECRET);
  assert.match(bytes.toString('latin1'), /"misses":\[\{"count":3,"kind":"narinfo",[^\]]*\]/);
  const { header } = await parseWantList(bytes, 'here');
  assert.deepEqual(header.misses, misses.toReversed());
});

test('parseWantList tells or refuses every changed byte', async () => {
  const bytes = await formatWantList(CONTENTS, SECRET);
  for (let position = 0; position < bytes.length; position += 1) {
    const changed = Buffer.from(bytes);
    changed[position] = (changed[position] ?? 0) ^ 1;
    const list = await parseWantList(changed, 'here').catch((error: { code?: string }) => error.code);
    if (typeof list === 'object') assert.equal(list.hasSigned, false, `byte ${position}`);
    else assert.ok(['damage', 'newer-format'].includes(list ?? ''), `byte ${position}: ${list}`);
  }
});

test('parseWantList refuses a list that is cut off, and that of a newer Nixferry', async () => {
  const bytes = await formatWantList(CONTENTS, SECRET);
  for (const end of [0, 10, 60, 200]) {
    await assert.rejects(parseWantList(bytes.subarray(0, end), 'here'), { code: 'damage' });
  }
  const newer = Buffer.from(bytes.toString('latin1').replace('"minReader":1', '"minReader":9'), 'latin1');
  await assert.rejects(parseWantList(newer, 'here'), { code: 'newer-format' });
});
