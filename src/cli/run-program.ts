import { Command, CommanderError } from 'commander';
import { EXIT, NixferryError, systemErrorCode } from '../base/errors.ts';
import { quoteForShell } from '../base/shell-word.ts';
import { joinArgumentPairs } from './argument-pairs.ts';
import { COMMANDS, type CommandName, isCommandName } from './commands.ts';
import { createOutput, type Output } from './output.ts';
import { toNixferryError } from './report-error.ts';
import type { CommandRun } from './run.ts';
import { handleSignals } from './signals.ts';
import { withTypedCommands } from './typed-commands.ts';
import { usageHint } from './usage-hint.ts';
import { readVersion } from './version.ts';

// Whoever reads our output may stop reading (`nixferry status | head`); the work goes on to its end all the same.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error) => {
    if (systemErrorCode(error) !== 'EPIPE') throw error;
  });
}

/**
 * Runs the command that the arguments name, and gives the exit code. Prints, and turns errors into words; throws nothing. `name` is what the user types to
 * start Nixferry.
 */
export async function runProgram(args: readonly string[], name = 'nixferry'): Promise<number> {
  const asked = askedCommand(args);
  const output = createOutput({
    json: args.includes('--json'),
    quiet: args.includes('--quiet') || args.includes('-q'),
    stdout: process.stdout,
    stderr: process.stderr,
    typed: (text) => withTypedCommands(text, name, asked),
  });
  const signals = handleSignals(process, output);
  let program: Command | undefined;
  try {
    const state = { exitCode: EXIT.complete as number };
    program = await createProgram(args, {
      output,
      signal: signals.signal,
      finish: (exitCode) => {
        state.exitCode = exitCode;
      },
    });
    await program.parseAsync(joinArgumentPairs(args), { from: 'user' });
    return state.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return endWithUsage(error, output, program, args);
    return endWithError(error, output, signals.signal, args);
  } finally {
    output.finish();
    signals.stop();
  }
}

/** Registers every command by name and summary, and the one that is asked for in full. */
async function createProgram(args: readonly string[], run: CommandRun): Promise<Command> {
  const program = new Command('nixferry')
    .description('Carry Nix and NixOS across an air gap.')
    .version(readVersion(), '--version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .exitOverride()
    .configureHelp({ sortSubcommands: false })
    // Said as all other errors are.
    .configureOutput({ outputError: () => {} });
  const asked = askedCommand(args);
  for (const [name, entry] of Object.entries(COMMANDS)) {
    const command = program.command(name).description(entry.summary).exitOverride();
    command.helpGroup(entry.side);
    if (name === asked) await defineCommand(command, asked, run);
  }
  if (args.length === 0) program.help({ error: true });
  return program;
}

function askedCommand(args: readonly string[]): CommandName | undefined {
  const [first, second] = args.filter((argument) => !argument.startsWith('-'));
  const asked = first === 'help' ? second : first;
  return asked !== undefined && isCommandName(asked) ? asked : undefined;
}

async function defineCommand(command: Command, name: CommandName, run: CommandRun): Promise<void> {
  const { define } = await COMMANDS[name].load();
  define(command, run);
}

/** The help that was asked for is no error; the help that is shown for want of a command says all by itself. */
function endWithUsage(
  error: CommanderError,
  output: Output,
  program: Command | undefined,
  args: readonly string[],
): number {
  if (error.exitCode === 0) return EXIT.complete;
  const message = error.message.replace(/^error: /, '');
  if (error.code !== 'commander.help') {
    const hint = program === undefined ? undefined : usageHint(error, program, args);
    output.error(new NixferryError('usage', message, { hint }));
  }
  output.verdict(EXIT.usage, { code: 'usage', message });
  return EXIT.usage;
}

function endWithError(error: unknown, output: Output, signal: AbortSignal, args: readonly string[]): number {
  const known = signal.aborted ? interrupted(args) : toNixferryError(error);
  if (known === undefined || args.includes('--debug')) {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  }
  if (known === undefined) {
    process.stderr.write('error: this is a bug in Nixferry; please report it with the lines above\n');
    output.verdict(EXIT.bug, { code: 'bug', message: String(error) });
    return EXIT.bug;
  }
  output.error(known);
  output.verdict(known.exitCode, { code: known.code, message: known.message });
  return known.exitCode;
}

function interrupted(args: readonly string[]): NixferryError {
  return new NixferryError('interrupted', 'interrupted; nothing is lost', {
    hint: `to go on where this stopped, type the same command again: nixferry ${args.map(quoteForShell).join(' ')}`,
  });
}
