import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command, CommanderError } from 'commander';
import { nixferryCommand } from '../../test/support/nixferry.ts';
import { run } from '../../test/support/run.ts';
import { COMMANDS } from './commands.ts';
import type { CommandRun } from './run.ts';
import { usageHint } from './usage-hint.ts';

/** What is said next to a command line with which nothing can be done. */
async function hintFor(...args: readonly string[]): Promise<string> {
  const program = new Command('nixferry').exitOverride().configureOutput({ outputError: () => {} });
  for (const [name, entry] of Object.entries(COMMANDS)) {
    (await entry.load()).define(program.command(name), {} as CommandRun);
  }
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) return usageHint(error, program, args);
    throw error;
  }
  return assert.fail(`${args.join(' ')} can be done`);
}

test('usageHint gives an example of what is missing', async () => {
  assert.match(await hintFor('client-config'), /^for example: nixferry client-config .*--url http:\/\/ferry:8080 \(/);
  assert.match(await hintFor('want'), /^for example: nixferry want --to \S+ \(/);
  assert.match(await hintFor('doctor', '--url'), /^for example: nixferry doctor --url /);
  assert.match(await hintFor('keys', 'retire'), /^for example: nixferry keys retire /);
});

test('usageHint takes a word too many for the mirror where a command takes none', async () => {
  assert.match(
    await hintFor('serve', '--workers', '2', '/srv/x y'),
    /^if that is the mirror: nixferry serve --mirror '\/srv\/x y' \(/,
  );
  assert.match(await hintFor('ack', 'a', 'b'), /^nixferry ack --help/);
});

test('usageHint names the help of what was asked for', async () => {
  for (const name of Object.keys(COMMANDS)) {
    assert.ok((await hintFor(name, '--no-such-flag')).includes(`nixferry ${name} --help`), name);
  }
  assert.equal(await hintFor('no-such-command'), 'nixferry --help lists the commands');
  assert.equal(await hintFor('keys', 'no-such-one'), 'nixferry keys --help lists what can follow');
});

test('a command line with which nothing can be done ends with the next step, for people and for programs', async () => {
  const { stderr, stdout } = await run(nixferryCommand, ['serve', 'here', '--json'], { exitCode: 2 });
  assert.match(
    stderr,
    /^error: too many arguments[^\n]*\nnext: {2}if that is the mirror: nixferry serve --mirror here [^\n]*\n$/,
  );
  const [error, verdict] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.partialDeepStrictEqual(error, { type: 'error', code: 'usage' });
  assert.partialDeepStrictEqual(verdict, { type: 'verdict', exitCode: 2, code: 'usage' });
});
