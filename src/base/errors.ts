// src/base knows nothing of Nix, mirrors or shipments: errors, limits, files, streams, compression, HTTP.
// This file is the one table of everything that can go wrong in a way that a user must understand.

/** Process exit codes; part of the command line's contract (docs/reference/errors.md). */
export const EXIT = {
  complete: 0,
  bug: 1,
  usage: 2,
  partial: 10,
  basisMissing: 11,
  notTrusted: 12,
  damageRepaired: 13,
  damage: 14,
  noSpace: 15,
  wrongSite: 16,
  newerFormat: 17,
  upstreamIncomplete: 18,
  locked: 19,
  interrupted: 130,
} as const;

interface ErrorKind {
  readonly exitCode: number;
  /** One line for docs/reference/errors.md: what happened, in general. */
  readonly summary: string;
}

/** Every error code; docs/reference/errors.md lists exactly these, and a test compares the two. */
export const ERROR_TABLE = {
  usage: { exitCode: EXIT.usage, summary: 'The command line or nixferry.toml asks for something that does not exist.' },
  'bad-root': {
    exitCode: EXIT.usage,
    summary: 'A root is none of the kinds that Nixferry knows, or cannot be resolved.',
  },
  'nix-not-found': {
    exitCode: EXIT.usage,
    summary: 'The root needs Nix on this machine, and there is none on the PATH.',
  },
  'nix-too-old': {
    exitCode: EXIT.usage,
    summary: 'The Nix on this machine is older than what it was to evaluate asks for.',
  },
  'nix-failed': { exitCode: EXIT.usage, summary: 'The installed Nix refused to evaluate or describe the root.' },
  'namespace-refused': {
    exitCode: EXIT.usage,
    summary: 'The system does not let a rehearsal have a namespace of its own.',
  },
  'program-missing': {
    exitCode: EXIT.usage,
    summary: 'A program that the work needs (xz, bzip2, git) is not installed.',
  },
  'tools-missing': {
    exitCode: EXIT.usage,
    summary: 'The Nixferry that is to travel on the medium is not there.',
  },
  'not-a-mirror': {
    exitCode: EXIT.usage,
    summary: 'The directory is not a mirror, or is one that must not be used as such.',
  },
  'stale-receipt': {
    exitCode: EXIT.usage,
    summary: 'The receipt is older than one of that site that was acknowledged before.',
  },
  'not-a-shipment': { exitCode: EXIT.usage, summary: 'The directory holds no shipment.' },
  'target-occupied': {
    exitCode: EXIT.usage,
    summary: 'The target already holds something else; nothing is overwritten.',
  },
  'store-dir-mismatch': {
    exitCode: EXIT.usage,
    summary: 'Upstream, shipment and mirror speak of different store folders.',
  },
  'bad-key': { exitCode: EXIT.usage, summary: 'A key is not in the form name:base64.' },
  'address-in-use': { exitCode: EXIT.usage, summary: 'The address given to --listen cannot be opened.' },
  'import-partial': {
    exitCode: EXIT.partial,
    summary: 'Complete roots were imported; what the others still need is listed.',
  },
  'check-incomplete': {
    exitCode: EXIT.partial,
    summary: 'Clients of the mirror could not have all that a root needs.',
  },
  unhealthy: {
    exitCode: EXIT.partial,
    summary: 'The doctor found something that keeps Nix or the mirror from working on this machine.',
  },
  'basis-missing': {
    exitCode: EXIT.basisMissing,
    summary: 'The shipment builds on paths that this mirror does not hold.',
  },
  'not-trusted': {
    exitCode: EXIT.notTrusted,
    summary: 'A signature is missing, wrong, or made by a key that is not trusted here.',
  },
  'damage-repaired': { exitCode: EXIT.damageRepaired, summary: 'Damaged files were found and replaced by good ones.' },
  damage: { exitCode: EXIT.damage, summary: 'Bytes are not what they were when they were hashed or signed.' },
  'no-space': { exitCode: EXIT.noSpace, summary: 'The work needs more room than the file system has.' },
  'wrong-site': {
    exitCode: EXIT.wrongSite,
    summary: 'The shipment was made for another site, or the receipt by another one.',
  },
  'newer-format': {
    exitCode: EXIT.newerFormat,
    summary: 'The data was written by a newer Nixferry than this one can read.',
  },
  'upstream-incomplete': {
    exitCode: EXIT.upstreamIncomplete,
    summary: 'Some paths could not be had; all others are in the mirror.',
  },
  'upstream-unreachable': {
    exitCode: EXIT.upstreamIncomplete,
    summary: 'An upstream cache does not answer or is none.',
  },
  'mirror-locked': { exitCode: EXIT.locked, summary: 'Another Nixferry is writing to this mirror.' },
  interrupted: {
    exitCode: EXIT.interrupted,
    summary: 'Ctrl-C or a signal; the same command goes on where it stopped.',
  },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERROR_TABLE;

export interface ErrorDetails {
  /** What to do next, as an order or a command to type. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** An error that a user can act on: what happened and where (message), what to do next (hint), how the process ends. */
export class NixferryError extends Error {
  override readonly name = 'NixferryError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint;
  }

  get exitCode(): number {
    return ERROR_TABLE[this.code].exitCode;
  }
}

/** The code of a Node system error (`ENOENT`), if `error` is one. */
export function systemErrorCode(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return undefined;
}

/** Turns ENOSPC, EDQUOT and EROFS into a `no-space` error that names the place; gives every other error back as it is. */
export function explainWriteError(error: unknown, path: string): unknown {
  const code = systemErrorCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new NixferryError('no-space', `no space left while writing ${path}`, {
      hint: 'free some room or choose another folder, then type the same command again',
      cause: error,
    });
  }
  return error;
}
