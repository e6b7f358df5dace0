import { ignoreProgress, type OnProgress } from '../base/progress.ts';
import { NixMessages, type NixStory } from './nix-messages.ts';
import { ROOM_PROGRAMS, type Room } from './room.ts';

/** A command of Nix that ran in the room, with what it did. */
export interface NixRun {
  /** As one would type it. */
  readonly command: string;
  readonly exitCode: number;
  readonly stdout: string;
  readonly story: NixStory;
}

/** Nix in a room. */
export interface RoomNix {
  /** Where the file system outside has a path of the room. */
  outside(path: string): string;
  run(program: 'nix' | 'nix-store', args: readonly string[], env?: Readonly<Record<string, string>>): Promise<NixRun>;
}

// Up to Nix 2.8 the `nix` command turns substitution off where there is no network card, unless it is told so on its command line.
const ALWAYS = ['--option', 'substitute', 'true', '--log-format', 'internal-json'];

/** What begins in the room is reported as an item of the current phase. */
export function roomNix(room: Room, signal: AbortSignal, onProgress: OnProgress = ignoreProgress): RoomNix {
  return {
    outside: room.outside,
    async run(program, args, env = {}) {
      const story = new NixMessages();
      const onLine = (line: string): void => {
        if (story.line(line) !== undefined) onProgress({ type: 'advance', items: 1 });
      };
      const { exitCode, stdout } = await room.run(`${ROOM_PROGRAMS}/${program}`, [...args, ...ALWAYS], {
        signal,
        env,
        onLine,
      });
      return { command: [program, ...args].map(shown).join(' '), exitCode, stdout, story };
    },
  };
}

const SHOWN_CHARACTERS = 200;

function shown(argument: string): string {
  if (/^[\w@%+=:,./#^!?-]+$/.test(argument)) return argument;
  const line = argument.replaceAll(/\s+/g, ' ').trim();
  return `'${line.length <= SHOWN_CHARACTERS ? line : `${line.slice(0, SHOWN_CHARACTERS)}…`}'`;
}
