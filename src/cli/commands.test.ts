import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { COMMANDS } from './commands.ts';
import type { CommandRun } from './run.ts';

function helpOf(command: Command): string {
  let help = '';
  command.configureOutput({ writeOut: (text) => (help += text) });
  command.outputHelp();
  return help;
}

for (const [name, entry] of Object.entries(COMMANDS)) {
  test(`${name} --help describes every argument and option, and ends with an example that names the command`, async () => {
    const command = new Command(name);
    const { define } = await entry.load();
    define(command, {} as CommandRun);
    for (const one of [command, ...command.commands]) {
      assert.match(helpOf(one), new RegExp(`\\nExamples?:\\n(  .*\\n)*  .*nixferry ${name}[ \\n]`), one.name());
      const undescribed = one.options.filter((option) => option.description === '');
      assert.deepEqual(
        undescribed.map(({ flags }) => flags),
        [],
      );
    }
  });
}
