import { quoteForShell } from '../base/shell-word.ts';
import { COMMANDS, type CommandName, isCommandName } from './commands.ts';

/** Set by the launcher on the medium, unless it was found on the PATH: the path of itself, as it was typed. */
const STARTED_AS_VARIABLE = 'NIXFERRY_STARTED_AS';

/** What the user types to start Nixferry. The variable goes, so that no other Nixferry further down takes it for its own. */
export function takeProgramName(environment: NodeJS.ProcessEnv): string {
  const launcher = environment[STARTED_AS_VARIABLE];
  delete environment[STARTED_AS_VARIABLE];
  return launcher === undefined || launcher === '' ? 'nixferry' : `sh ${quoteForShell(launcher)}`;
}

/**
 * A text with its commands as they are to be typed where `running` was typed. Those for the other side of the air gap stay as they are: nobody here knows how
 * Nixferry is started there.
 */
export function withTypedCommands(text: string, program: string, running: CommandName | undefined): string {
  if (program === 'nixferry') return text;
  return text.replaceAll(COMMAND, (whole, command: string) => {
    const isOther = isCommandName(command) && isOnOtherSide(command, running);
    return isOther || !(command.startsWith('-') || isCommandName(command)) ? whole : `${program} ${command}`;
  });
}

// Not within a path; and `keys words` is what the other side types, whichever that is, to be compared with.
const COMMAND = /(?<![\w./-])nixferry (?!keys words)(--?[a-z]+|[a-z]+(?:-[a-z]+)*)/g;

function isOnOtherSide(command: CommandName, running: CommandName | undefined): boolean {
  if (running === undefined) return false;
  const [wanted, here] = [COMMANDS[command].side, COMMANDS[running].side];
  const [both, connected] = [COMMANDS.status.side, COMMANDS.pack.side];
  return wanted !== both && here !== both && (wanted === connected) !== (here === connected);
}
