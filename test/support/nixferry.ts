// Nixferry as its users have it: the command, run as a process of its own.

import path from 'node:path';

export const repositoryRoot = path.join(import.meta.dirname, '../..');

/** The command of this working tree; a test of the packed package uses the one that it installed. */
export const nixferryCommand = path.join(repositoryRoot, 'bin/nixferry');
