// Reads which room of src imports which, and draws it. test/layers.test.ts judges; scripts/draw-layers.ts keeps the
// picture in docs/architecture.md.

import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { repositoryRoot } from './nixferry.ts';

export interface ImportStatement {
  /** Both below src: `mirror/publish.ts`. */
  readonly from: string;
  /** A file below src, or the bare name of a package or builtin module. */
  readonly to: string;
  readonly kind: 'file' | 'package';
}

/** From the top of the house to its foundation; rooms of one storey do not know each other. */
export const STOREYS: readonly (readonly string[])[] = [
  ['cli'],
  ['serve'],
  ['collect', 'get-nix', 'proxy', 'rehearse', 'shipment', 'site'],
  ['closure', 'sources', 'evaluate', 'store'],
  ['upstream', 'mirror', 'config'],
  ['nix', 'base'],
];

const PICTURE_FILE = path.join(repositoryRoot, 'docs/architecture.md');
const PICTURE = /(<!-- layers:begin -->\n)([\s\S]*?)(<!-- layers:end -->)/;

/** Every import, export-from and import() in src, tests included. */
export async function readImports(): Promise<ImportStatement[]> {
  const source = path.join(repositoryRoot, 'src');
  const files = (await readdir(source, { recursive: true })).filter((file) => file.endsWith('.ts')).toSorted();
  const perFile = await Promise.all(
    files.map(async (from) => {
      const text = await readFile(path.join(source, from), 'utf8');
      return importedNames(text).map((name): ImportStatement => {
        if (!name.startsWith('.')) return { from, to: name, kind: 'package' };
        return { from, to: path.posix.join(path.posix.dirname(from), name), kind: 'file' };
      });
    }),
  );
  return perFile.flat();
}

/** What the statements of one source file import. */
export function importedNames(source: string): string[] {
  const code = source.replaceAll(/^\s*(\/\/|\*|\/\*).*$/gm, '');
  const statement = /^(?:import|export)\s+(?:[\w$*\s{},]+?\sfrom\s+)?'([^']+)'|\bimport\(\s*'([^']+)'/gm;
  return [...code.matchAll(statement)].map((match) => match[1] ?? match[2] ?? '');
}

export function roomOf(file: string): string {
  return file.split('/', 1)[0] ?? '';
}

/** Tests and what they share inside a room; tsconfig.build.json leaves the same files out. */
export function isTest(file: string): boolean {
  return file.endsWith('.test.ts') || file.endsWith('/test-support.ts');
}

/** One line a room: what it imports, from the top of the house down. Tests do not count. */
export function drawPicture(imports: readonly ImportStatement[]): string {
  const order = STOREYS.flat();
  const built = imports.filter(({ from, kind }) => !isTest(from) && kind === 'file');
  const rooms = order.filter((room) => built.some(({ from, to }) => roomOf(from) === room || roomOf(to) === room));
  const lines = rooms.map((room) => {
    const used = order.filter(
      (other) => other !== room && built.some(({ from, to }) => roomOf(from) === room && roomOf(to) === other),
    );
    return `${room.padEnd(8)} → ${used.length > 0 ? used.join(' ') : '(nothing)'}`;
  });
  return `\`\`\`\n${lines.join('\n')}\n\`\`\`\n`;
}

/** The picture that docs/architecture.md shows. */
export async function readPicture(): Promise<string | undefined> {
  return PICTURE.exec(await readFile(PICTURE_FILE, 'utf8'))?.[2];
}

export async function writePicture(picture: string): Promise<void> {
  const text = await readFile(PICTURE_FILE, 'utf8');
  await writeFile(
    PICTURE_FILE,
    text.replace(PICTURE, (_all, begin: string, _old, end: string) => begin + picture + end),
  );
}
