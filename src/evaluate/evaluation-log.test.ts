import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readEvaluationLog } from './evaluation-log.ts';

const message = (level: number, msg: string) => `@nix ${JSON.stringify({ action: 'msg', level, msg })}\n`;

const ours = (what: string) =>
  `       … while ${what}\n         at «string»:14:5:\n           13|   gather = x:\n             |     ^`;

test('readEvaluationLog tells what was read, copied and realised when lines come in pieces', () => {
  const log = readEvaluationLog();
  const text = [
    message(4, "evaluating file '/home/anna/it's here/default.nix'"),
    message(5, "copied source '/home/anna/src' -> '/nix/store/abc-src'"),
    message(6, "building of '/nix/store/abc-a.drv!out' from .drv file: created"),
    message(6, "building of '/nix/store/abc-b.drv^*' from .drv file: created"),
    message(6, "building of '/nix/store/abc-c.drv!out' from .drv file: woken up"),
    message(4, `using revision ${'a'.repeat(40)} of repo 'https://git.example.org/lib'`),
    '@nix {"action":"start","id":1,"level":5,"text":"copying \'/home/anna/own\' to the store","type":0}\n',
    '@nix {"action":"start","id":2,"level":0,"text":"","type":102}\n',
  ].join('');
  for (let position = 0; position < text.length; position += 7) log.push(text.slice(position, position + 7));
  assert.equal(log.text(), '');
  assert.deepEqual([...log.evaluatedFiles], ["/home/anna/it's here/default.nix"]);
  assert.deepEqual([...log.copiedSources], ['/nix/store/abc-src']);
  assert.deepEqual([...log.originals], ['/home/anna/own']);
  assert.deepEqual([...log.realised], ['/nix/store/abc-a.drv', '/nix/store/abc-b.drv']);
  assert.deepEqual([...log.repositories], ['https://git.example.org/lib']);
});

test('readEvaluationLog keeps warnings, errors and what is no message as Nix shows them, without colours', () => {
  const log = readEvaluationLog();
  log.push(message(1, '\u001b[35;1mwarning:\u001b[0m Git tree is dirty') + message(3, 'copying'));
  log.push(message(1, "warning: ignoring the client-specified setting 'eval-cache', because …"));
  log.push(`Segmentation fault\n@nix {broken\n${message(0, '\u001b[31;1merror:\u001b[0m no')}`);
  log.push(message(0, "(use '--show-trace' to show detailed location information)"));
  log.push('the last line');
  assert.equal(log.text(), 'warning: Git tree is dirty\nSegmentation fault\n@nix {broken\nerror: no\nthe last line\n');
});

test('readEvaluationLog leaves out of an error what leads through our own expression', () => {
  const log = readEvaluationLog();
  const theirs = "       … while evaluating the attribute 'a'\n         at /home/anna/flake.nix:3:5:\n            2|";
  const truncated = "       (stack trace truncated; use '--show-trace' to show the full, detailed trace)";
  const syntax = "       error: syntax error, unexpected '}'\n       at «string»:3:1:";
  log.push(message(0, ['error:', ours('one'), ours('two'), theirs, truncated, syntax].join('\n\n')));
  assert.equal(log.text(), `error:\n\n${theirs}\n\n${syntax}\n`);
});
