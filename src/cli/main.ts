// src/cli is the only room that prints and exits. run-program.ts finds the command and turns errors into words and exit codes;
// each command is one lazily loaded file, so that starting up costs only what is used.

import { runProgram } from './run-program.ts';

process.exitCode = await runProgram(process.argv.slice(2));
