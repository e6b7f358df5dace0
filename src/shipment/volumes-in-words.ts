import type { Manifest } from './manifest.ts';

/** Volumes as a person looks for them: by disc where there are discs, by file name elsewhere. */
export function volumesInWords({ volumes }: Pick<Manifest, 'volumes'>, names: Iterable<string>): string {
  const discOf = new Map(volumes.map(({ name, disc }) => [name, disc]));
  const byDisc = new Map<number, string[]>();
  const loose: string[] = [];
  for (const name of [...new Set(names)].sort()) {
    const disc = discOf.get(name);
    if (disc === undefined) loose.push(name);
    else byDisc.set(disc, [...(byDisc.get(disc) ?? []), name]);
  }
  const discs = [...byDisc].map(([disc, own]) => `disc ${disc} (${listed(own, VOLUMES_SHOWN_PER_DISC)})`);
  return listed([...discs, ...loose], SHOWN);
}

const SHOWN = 20;
const VOLUMES_SHOWN_PER_DISC = 3;

function listed(words: readonly string[], most: number): string {
  const shown = words.slice(0, most).join(', ');
  return words.length > most ? `${shown} and ${words.length - most} more` : shown;
}
