import { stripVTControlCharacters } from 'node:util';
import { z } from 'zod';
import { LIMITS } from '../base/limits.ts';

/** What Nix did, and said, in one or several commands. */
export interface NixStory {
  /** Derivations that it began to build, in that order; full paths, each once. */
  readonly built: readonly string[];
  /** Paths that it fetched; full paths, each once. */
  readonly fetched: readonly string[];
  /** What it said to people, without colours. */
  readonly said: readonly Saying[];
  /** The end of what each builder printed, by its derivation. */
  readonly buildLogs: ReadonlyMap<string, readonly string[]>;
}

export interface Saying {
  /** `info` is what it is about to do, and the like. */
  readonly kind: 'error' | 'warning' | 'info';
  readonly text: string;
}

/** Reads what Nix prints with `--log-format internal-json`, a line at a time. That format is the same from Nix 2.4 on. */
export class NixMessages implements NixStory {
  readonly said: Saying[] = [];
  readonly buildLogs = new Map<string, string[]>();
  readonly #built = new Set<string>();
  readonly #fetched = new Set<string>();
  readonly #builds = new Map<number, string>();
  #saidCharacters = 0;

  get built(): readonly string[] {
    return [...this.#built];
  }

  get fetched(): readonly string[] {
    return [...this.#fetched];
  }

  /** Takes in one line of stderr; tells what has just begun, for whoever watches. */
  line(text: string): { readonly began: string } | undefined {
    const message = parseMessage(text);
    if (message === undefined) {
      if (text.trim() !== '') this.#say(plain(text), LEVEL_ERROR);
      return undefined;
    }
    switch (message.action) {
      case 'start':
        return this.#start(message);
      case 'result':
        if (message.type === RESULT_BUILD_LOG_LINE) this.#buildLog(message);
        return undefined;
      case 'msg':
        this.#say(plain(message.msg ?? ''), message.level ?? LEVEL_ERROR);
        return undefined;
      default:
        return undefined;
    }
  }

  #start({ id, type, fields, text }: Message): { readonly began: string } | undefined {
    const [path] = fields ?? [];
    if (typeof path !== 'string') return undefined;
    if (type === ACTIVITY_BUILD) {
      this.#built.add(path);
      if (id !== undefined) this.#builds.set(id, path);
      return { began: plain(text ?? path) };
    }
    if (type === ACTIVITY_SUBSTITUTE || type === ACTIVITY_COPY_PATH) {
      this.#fetched.add(path);
      return { began: plain(text ?? path) };
    }
    return undefined;
  }

  #buildLog({ id, fields }: Message): void {
    const derivation = this.#builds.get(id ?? -1);
    const [line] = fields ?? [];
    if (derivation === undefined || typeof line !== 'string') return;
    const lines = this.buildLogs.get(derivation) ?? [];
    lines.push(plain(line).slice(0, LIMITS.rehearsalLineCharacters));
    if (lines.length > LIMITS.rehearsalBuildLogLines) lines.shift();
    this.buildLogs.set(derivation, lines);
  }

  #say(text: string, level: number): void {
    if (level > LEVEL_INFO || IN_EVERY_ROOM.test(text)) return;
    const kind = level === LEVEL_ERROR ? 'error' : level <= LEVEL_NOTICE ? 'warning' : 'info';
    this.#saidCharacters += text.length;
    // A warning for each of thousands of builds tells no more than the first hundreds do.
    if (kind === 'error' || this.#saidCharacters <= LIMITS.rehearsalSaidCharacters) this.said.push({ kind, text });
  }
}

// Said because there is no network, which is the point; or about how Nix was called.
const IN_EVERY_ROOM =
  /^(warning: (you don't have Internet access|you did not specify '--add-root')|\(use '--show-trace' to show)/;
const PREFIX = '@nix ';
// The numbers of logging.hh in Nix's sources.
const LEVEL_ERROR = 0;
const LEVEL_NOTICE = 2;
const LEVEL_INFO = 3;
const ACTIVITY_COPY_PATH = 100;
const ACTIVITY_BUILD = 105;
const ACTIVITY_SUBSTITUTE = 108;
const RESULT_BUILD_LOG_LINE = 101;

type Message = z.infer<typeof messageSchema>;
const messageSchema = z.object({
  action: z.string(),
  id: z.number().optional(),
  type: z.number().optional(),
  level: z.number().optional(),
  text: z.string().optional(),
  msg: z.string().optional(),
  fields: z.array(z.union([z.string(), z.number()])).optional(),
});

function parseMessage(line: string): Message | undefined {
  if (!line.startsWith(PREFIX)) return undefined;
  try {
    return messageSchema.safeParse(JSON.parse(line.slice(PREFIX.length))).data;
  } catch {
    return undefined;
  }
}

/** Without colours. Other control characters go when it is printed or logged. */
function plain(text: string): string {
  return stripVTControlCharacters(text);
}
