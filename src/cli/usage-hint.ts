import type { Command, CommanderError } from 'commander';
import { quoteForShell } from '../base/shell-word.ts';
import { examplesOf } from './common-options.ts';

/** What to type next when the command line does not say what can be done. `program` has the command that was asked for in full. */
export function usageHint({ code, message }: CommanderError, program: Command, args: readonly string[]): string {
  const command = findCommand(program, args);
  if (command === program) return 'nixferry --help lists the commands';
  const name = fullName(command);
  const help = `${name} --help says what it takes`;
  switch (code) {
    case 'commander.unknownCommand':
      return `${name} --help lists what can follow`;
    case 'commander.excessArguments':
      return excessHint(command, help);
    case 'commander.missingArgument':
    case 'commander.missingMandatoryOptionValue':
    case 'commander.optionMissingArgument': {
      const [flag = ''] = /--[a-z-]+/.exec(message) ?? [];
      const example = examplesOf(command).find((line) => line.includes(flag));
      return example === undefined ? help : `for example: ${example} (${help})`;
    }
    default:
      return help;
  }
}

/** Words too many are most often the mirror, where a command takes no words at all. */
function excessHint(command: Command, help: string): string {
  const [excess] = command.args;
  if (command.registeredArguments.length > 0 || excess === undefined) return help;
  return `if that is the mirror: ${fullName(command)} --mirror ${quoteForShell(excess)} (${help})`;
}

/** The innermost one that the words name. */
function findCommand(program: Command, args: readonly string[]): Command {
  let found = program;
  for (const word of args.filter((argument) => !argument.startsWith('-'))) {
    const next = found.commands.find((command) => command.name() === word);
    if (next === undefined) break;
    found = next;
  }
  return found;
}

function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`;
}
