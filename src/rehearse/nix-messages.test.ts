import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import { NixMessages } from './nix-messages.ts';

const DRV = '/nix/store/rqymmaanv85v45a83cx8flz7r338zfjc-a.drv';

function read(...messages: readonly (object | string)[]): NixMessages {
  const story = new NixMessages();
  for (const message of messages) {
    story.line(typeof message === 'string' ? message : `@nix ${JSON.stringify(message)}`);
  }
  return story;
}

test('NixMessages tells what was built and fetched, and what builders printed at the end', () => {
  const lines = Array.from({ length: LIMITS.rehearsalBuildLogLines + 5 }, (_, index) => `line ${index}`);
  const story = read(
    { action: 'start', id: 1, type: 105, level: 3, text: `building '${DRV}'`, fields: [DRV, '', 1, 1] },
    { action: 'start', id: 2, type: 100, level: 3, text: 'copying', fields: ['/nix/store/x', 'file:///a', 'local'] },
    { action: 'start', id: 3, type: 101, level: 4, text: 'downloading', fields: ['http://x/y'] },
    ...lines.map((line) => ({ action: 'result', id: 1, type: 101, fields: [`\u001B[1m${line}\u001B[0m`] })),
    { action: 'result', id: 9, type: 101, fields: ['of nobody'] },
  );
  assert.deepEqual([story.built, story.fetched], [[DRV], ['/nix/store/x']]);
  assert.deepEqual([...story.buildLogs], [[DRV, lines.slice(-LIMITS.rehearsalBuildLogLines)]]);
});

test('NixMessages keeps errors, warnings and announcements apart, without colours and what is said in every room', () => {
  const story = read(
    { action: 'msg', level: 1, msg: "\u001B[35;1mwarning:\u001B[0m you don't have Internet access; disabling" },
    { action: 'msg', level: 0, msg: '\u001B[31;1merror:\u001B[0m no' },
    { action: 'msg', level: 1, msg: 'warning: old' },
    { action: 'msg', level: 3, msg: 'these will be built:' },
    { action: 'msg', level: 5, msg: 'chatter' },
    'error: before the log was opened',
    '@nix {broken',
    '',
  );
  assert.deepEqual(
    story.said.map(({ kind, text }) => `${kind}: ${text}`),
    [
      'error: error: no',
      'warning: warning: old',
      'info: these will be built:',
      'error: error: before the log was opened',
      'error: @nix {broken',
    ],
  );
});

test('NixMessages stops collecting warnings when there are too many, but never errors', () => {
  const story = new NixMessages();
  const warning = `@nix ${JSON.stringify({ action: 'msg', level: 1, msg: 'w'.repeat(10_000) })}`;
  for (let count = 0; count < 100; count += 1) story.line(warning);
  story.line(`@nix ${JSON.stringify({ action: 'msg', level: 0, msg: 'the end' })}`);
  assert.equal(story.said.length, Math.floor(LIMITS.rehearsalSaidCharacters / 10_000) + 1);
  assert.equal(story.said.at(-1)?.text, 'the end');
});
