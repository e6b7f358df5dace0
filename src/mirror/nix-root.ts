import type { MirrorPlace } from './keys.ts';
import { type RootRecord, readRoots } from './roots.ts';

// The Nix that is carried for those who have none is a root like others, known by how it is asked for: `nix:x86_64-linux`.
// `pack` leaves it out unless told otherwise, for whoever has fetched a Nix to evaluate with need not want to send it.

/** What the Nix for a kind of machine is asked for by; one kind of machine has one Nix in a mirror. */
export function nixRootRequest(system: string): string {
  return `${PREFIX}${system}`;
}

/** For which kind of machine a root is the Nix; undefined for other roots. */
export function nixRootSystem({ request }: Pick<RootRecord, 'request'>): string | undefined {
  return request.startsWith(PREFIX) ? request.slice(PREFIX.length) : undefined;
}

const PREFIX = 'nix:';

/** The Nix for each kind of machine that the mirror holds whole. */
export async function nixRootsOf(mirror: MirrorPlace): Promise<RootRecord[]> {
  return (await readRoots(mirror)).filter((root) => root.complete && nixRootSystem(root) !== undefined);
}
