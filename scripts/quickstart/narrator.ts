// What the quickstart says: numbered steps, each with the side it happens on, the command as one would type it, and what
// the command printed.

import type { RunResult } from '../../test/support/run.ts';

const SHOWN_LINES = 20;
const WIDTH = 96;

export type Side = 'connected side' | 'on foot' | 'isolated side';

export interface Narrator {
  step(side: Side, title: string, explanation: string): void;
  /** `inBackground` shows it with an ampersand. */
  command(words: readonly string[], inBackground?: boolean): void;
  output(result: Pick<RunResult, 'stdout' | 'stderr'>): void;
  /** What the reader should take from the output. */
  result(text: string): void;
  text(text: string): void;
}

export function createNarrator(write: (text: string) => void): Narrator {
  let steps = 0;
  return {
    step: (side, title, explanation) => {
      write(`\n${++steps}. [${side}] ${title}\n`);
      write(`${indent(wrap(explanation, WIDTH - 3), '   ')}\n\n`);
    },
    command: (words, inBackground = false) =>
      write(`   $ ${words.map(quoteForShell).join(' ')}${inBackground ? ' &' : ''}\n`),
    output: ({ stdout, stderr }) => {
      const lines = `${stderr}\n${stdout}`.split('\n').filter((line) => line.trim() !== '');
      const shown = lines.length > SHOWN_LINES ? lines.slice(-SHOWN_LINES) : lines;
      if (lines.length > shown.length) write(`   | … ${lines.length - shown.length} lines before these\n`);
      for (const line of shown) write(`   | ${line}\n`);
    },
    result: (text) => write(`\n${indent(wrap(text, WIDTH - 5), '     ').replace('     ', '  => ')}\n`),
    text: (text) => write(`${text}\n`),
  };
}

function wrap(text: string, width: number): string {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line !== '' && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.join('\n');
}

function indent(text: string, by: string): string {
  return text
    .split('\n')
    .map((line) => by + line)
    .join('\n');
}

function quoteForShell(word: string): string {
  return /^[\w@%+=:,./#-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
