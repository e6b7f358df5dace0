// The main of the one program that travels on the medium (scripts/build-tools.ts bundles it to CommonJS, which knows no
// top-level await). It is its own worker as well: there is no second file to start.

import cluster from 'node:cluster';
import { rmSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { carriedToolsFolder } from '../base/carried-tools.ts';
import { FETCHER_SETTINGS_VARIABLE } from '../proxy/protocol.ts';

/** Set by the launcher when the medium may not start programs and it has made a copy for this one run. */
const COPY_VARIABLE = 'NIXFERRY_COPY_FOR_THIS_RUN';

void start();

async function start(): Promise<void> {
  const folder = carriedToolsFolder() ?? '';
  // What node:cluster starts; without /proc Node does not find out.
  process.execPath = join(folder, 'ld.so');
  if (cluster.isWorker) {
    const { runWorker } = await import('../serve/worker.ts');
    await runWorker();
    return;
  }
  if (process.env[FETCHER_SETTINGS_VARIABLE] !== undefined) {
    const { runFetcher } = await import('../proxy/run-fetcher.ts');
    await runFetcher();
    return;
  }
  removeCopyAtExit(folder);
  const { runProgram } = await import('./run-program.ts');
  const { takeProgramName } = await import('./typed-commands.ts');
  process.exitCode = await runProgram(process.argv.slice(2), takeProgramName(process.env));
}

function removeCopyAtExit(folder: string): void {
  const copy = process.env[COPY_VARIABLE];
  delete process.env[COPY_VARIABLE];
  // A variable of the environment must not make us delete anything but ourselves.
  if (copy === undefined || resolve(copy) !== folder || !basename(folder).startsWith('nixferry-run-')) return;
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
}
