import type { RootRecord } from './roots.ts';

type Named = Pick<RootRecord, 'name' | 'request' | 'scope'>;

/** A name for each root: its own where no other one has it, else with what it was asked for by, and with its scope where that is the same, too. */
export function distinctNames(roots: readonly Named[]): string[] {
  const sameName = countsOf(roots, nameOf);
  const sameRequest = countsOf(roots, requestOf);
  return roots.map((root) => {
    const { name, request, scope } = root;
    if (sameName.get(nameOf(root)) === 1) return name;
    return sameRequest.get(requestOf(root)) === 1 ? `${name} (${request})` : `${name} (${request}, ${scope})`;
  });
}

const nameOf = ({ name }: Named): string => name;
const requestOf = ({ name, request }: Named): string => JSON.stringify([name, request]);

function countsOf(roots: readonly Named[], keyOf: (root: Named) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const root of roots) counts.set(keyOf(root), (counts.get(keyOf(root)) ?? 0) + 1);
  return counts;
}
