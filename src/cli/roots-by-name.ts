import { NixferryError } from '../base/errors.ts';
import { quoteForShell } from '../base/shell-word.ts';
import { readRoots, rootsMeantBy } from '../mirror/roots.ts';
import { collectCommand } from './root-words.ts';

const SHOWN_ROOTS = 5;

/**
 * What `resolve` gives. Where it knows no such root, but the mirror has one of that name, the error says so: `status` shows names by which roots are packed, and
 * they are easily taken for something to collect.
 */
export async function explainNamesOfMirror<Result>(
  texts: readonly string[],
  mirrorDirectory: string,
  resolve: () => Promise<Result>,
): Promise<Result> {
  try {
    return await resolve();
  } catch (error) {
    if (!(error instanceof NixferryError) || error.code !== 'bad-root') throw error;
    const text = texts.find((one) => error.message.startsWith(`'${one}'`) || error.message.startsWith(`${one} `));
    const found = text === undefined ? [] : rootsMeantBy(text, await readRoots({ directory: mirrorDirectory }));
    if (text === undefined || found.length === 0) throw error;
    const pack = `nixferry pack ${quoteForShell(text)} --site NAME --to DIR`;
    const hint = [
      `it is a root of the mirror ${mirrorDirectory}`,
      ...(found.every(({ complete }) => complete) ? [`to pack it as it is: ${pack}`] : []),
      ...found.slice(0, SHOWN_ROOTS).map((root) => `to collect it again:  ${collectCommand(root)}`),
    ];
    throw new NixferryError('bad-root', error.message, { hint: hint.join('\n  '), cause: error });
  }
}
