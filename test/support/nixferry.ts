// Nixferry as its users have it: the command, run as a process of its own.

import path from 'node:path';
import type { NixEnvironment } from './nix.ts';
import type { RunOptions, RunResult } from './run.ts';

export const repositoryRoot = path.join(import.meta.dirname, '../..');

/** The command of this working tree; a test of the packed package uses the one that it installed. */
export const nixferryCommand = path.join(repositoryRoot, 'bin/nixferry');

/** Runs it where there may be no Node, as in a chroot that has this repository in it. */
export function runNixferry(nix: NixEnvironment, args: readonly string[], options?: RunOptions): Promise<RunResult> {
  const node = path.join(repositoryRoot, `node_modules/node-linux-${process.arch}/bin/node`);
  return nix.run(node, [nixferryCommand, ...args], options);
}
