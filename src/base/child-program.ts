import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { carriedStart, carriedToolsFolder } from './carried-tools.ts';

export interface ChildProgram {
  readonly exec: string;
  readonly execArgv: string[];
}

/**
 * What `fork` and `node:cluster` start as a further process of ours, always with `process.execPath`: Node and the module that is its main, or, from the
 * medium, the loader and the program itself, which finds out what it is to be (src/cli/carried-main.ts).
 * @param main gives the module, without the suffix, which is that of the running sources; not called on the medium, where modules have no addresses
 */
export function childProgram(main: () => URL): ChildProgram {
  const tools = carriedToolsFolder();
  if (tools === undefined) {
    return {
      exec: `${fileURLToPath(main())}${extname(import.meta.filename)}`,
      execArgv: process.execArgv.filter((option) => !option.startsWith('--test')),
    };
  }
  const { args } = carriedStart(tools, 'nixferry');
  return { exec: args.at(-1) ?? '', execArgv: args.slice(0, -1) };
}
