import type { ClusterSettings } from 'node:cluster';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { carriedStart, carriedToolsFolder } from '../base/carried-tools.ts';

/**
 * What `node:cluster` starts as a worker, always with `process.execPath`: Node and the module that is a worker's main, or, from the
 * medium, the loader and the program itself, which finds out that it is a worker (src/cli/carried-main.ts).
 */
export function workerProgram(): ClusterSettings {
  const tools = carriedToolsFolder();
  if (tools === undefined) {
    return {
      exec: fileURLToPath(new URL(`./worker-main${extname(import.meta.filename)}`, import.meta.url)),
      args: [],
      execArgv: process.execArgv.filter((option) => !option.startsWith('--test')),
    };
  }
  const { args } = carriedStart(tools, 'nixferry');
  return { exec: args.at(-1) ?? '', args: [], execArgv: args.slice(0, -1) };
}
