import type { Command } from 'commander';
import type { CommandRun } from './run.ts';

/** What a command file exports: it adds arguments, options, an example and the action to the bare command. */
export interface CommandModule {
  define(command: Command, run: CommandRun): void;
}

interface CommandEntry {
  /** The heading in --help: the side of the air gap that the command is typed on. */
  readonly side: string;
  readonly summary: string;
  load(): Promise<CommandModule>;
}

const CONNECTED = 'On the connected side:';
const ISOLATED = 'On the isolated side:';
const CLIENT = 'On a client of the isolated side:';
const BOTH = 'On both sides:';

/** Every command, in the order of --help. */
export const COMMANDS = {
  plan: {
    side: CONNECTED,
    summary: 'say what collect would fetch, and how much, without fetching it',
    load: () => import('./commands/plan.ts'),
  },
  collect: {
    side: CONNECTED,
    summary: 'fetch everything that the roots need into the mirror',
    load: () => import('./commands/collect.ts'),
  },
  pack: {
    side: CONNECTED,
    summary: 'write a shipment for a site from the mirror',
    load: () => import('./commands/pack.ts'),
  },
  'get-nix': {
    side: CONNECTED,
    summary: 'bring a Nix without installing it, to evaluate with or to carry along',
    load: () => import('./commands/get-nix.ts'),
  },
  rehearse: {
    side: CONNECTED,
    summary: 'rebuild roots with real Nix without a network, from the mirror alone',
    load: () => import('./commands/rehearse.ts'),
  },
  ack: {
    side: CONNECTED,
    summary: 'take in the receipt of a site: what it holds is not sent again',
    load: () => import('./commands/ack.ts'),
  },
  export: {
    side: CONNECTED,
    summary: 'collect, check and pack in one go',
    load: () => import('./commands/export.ts'),
  },
  import: {
    side: ISOLATED,
    summary: 'check a shipment and take it into the mirror',
    load: () => import('./commands/import.ts'),
  },
  'unpack-nix': {
    side: ISOLATED,
    summary: 'unpack the Nix that a shipment carries (install-nix.sh on the medium does the rest)',
    load: () => import('./commands/unpack-nix.ts'),
  },
  serve: {
    side: ISOLATED,
    summary: 'serve the mirror as a binary cache over HTTP',
    load: () => import('./commands/serve.ts'),
  },
  receipt: {
    side: ISOLATED,
    summary: 'say, signed, what this site holds; goes back to the sender',
    load: () => import('./commands/receipt.ts'),
  },
  want: {
    side: ISOLATED,
    summary: 'write down, signed, what clients asked for in vain; goes back to the sender',
    load: () => import('./commands/want.ts'),
  },
  'client-config': {
    side: ISOLATED,
    summary: 'print the configuration that makes Nix use the mirror',
    load: () => import('./commands/client-config.ts'),
  },
  prime: {
    side: CLIENT,
    summary: 'fetch what evaluation reads (flake inputs, tarballs) into the store of this machine, and keep it there',
    load: () => import('./commands/prime.ts'),
  },
  doctor: {
    side: CLIENT,
    summary: 'say what keeps Nix (or the mirror) on this machine from working, and what to paste against it',
    load: () => import('./commands/doctor.ts'),
  },
  relock: {
    side: CLIENT,
    summary:
      'move the inputs of a flake to the newest revisions that shipments have brought, of whatever type they are',
    load: () => import('./commands/relock.ts'),
  },
  init: { side: BOTH, summary: 'make a mirror and its key', load: () => import('./commands/init.ts') },
  status: { side: BOTH, summary: 'say at a glance what the mirror holds', load: () => import('./commands/status.ts') },
  show: {
    side: BOTH,
    summary: 'say what is in a shipment and who made it, or what the mirror knows of a path',
    load: () => import('./commands/show.ts'),
  },
  diff: {
    side: BOTH,
    summary: 'say what a shipment changes: added, removed, other versions',
    load: () => import('./commands/diff.ts'),
  },
  check: {
    side: BOTH,
    summary: 'say whether clients of the mirror can have a root, change it and rebuild it',
    load: () => import('./commands/check.ts'),
  },
  verify: {
    side: BOTH,
    summary: 'read everything again and compare it with its hashes',
    load: () => import('./commands/verify.ts'),
  },
  rm: {
    side: BOTH,
    summary: 'forget roots; their paths stay until garbage is collected',
    load: () => import('./commands/rm.ts'),
  },
  sign: {
    side: BOTH,
    summary: 'sign what the mirror holds with its key, beside all signatures that there are',
    load: () => import('./commands/sign.ts'),
  },
  keys: { side: BOTH, summary: 'show, make, change and trust keys', load: () => import('./commands/keys.ts') },
  index: { side: BOTH, summary: 'rebuild the index from the files', load: () => import('./commands/index.ts') },
} as const satisfies Record<string, CommandEntry>;

export type CommandName = keyof typeof COMMANDS;

export function isCommandName(text: string): text is CommandName {
  return Object.hasOwn(COMMANDS, text);
}
