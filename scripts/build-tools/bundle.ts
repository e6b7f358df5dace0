import path from 'node:path';
import { rolldown } from 'rolldown';

/** All of Nixferry and its libraries as one CommonJS text: a single executable takes no ES module as its main. */
export async function bundle(root: string): Promise<string> {
  const build = await rolldown({
    input: path.join(root, 'src/cli/carried-main.ts'),
    cwd: root,
    platform: 'node',
    resolve: { alias: { '@napi-rs/lzma': path.join(import.meta.dirname, 'lzma-addon.ts') } },
    onLog: (level, log) => {
      if (level === 'warn') throw new Error(`the bundle is not sound: ${log.message}`);
    },
  });
  const { output } = await build.generate({ format: 'cjs', codeSplitting: false });
  await build.close();
  const [main, ...others] = output;
  if (others.length > 0) throw new Error(`the bundle has ${output.length} files; it must be one`);
  return main.code;
}
