import { quoteForShell } from '../base/shell-word.ts';
import { NIXOS_PROBES } from '../evaluate/nixos-probes.ts';
import { nixRootSystem } from '../mirror/nix-root.ts';
import type { RootRecord } from '../mirror/roots.ts';

// How roots of a mirror are told to people: what to type to have them again.

/** Variants that come without being asked for. */
const PROBES: ReadonlySet<string> = new Set(NIXOS_PROBES.map(({ name }) => name));

/** What brings a root into the mirror once more. */
export function collectCommand(record: RootRecord): string {
  const system = nixRootSystem(record);
  if (system !== undefined) return `nixferry get-nix --system ${quoteForShell(system)}`;
  const scope = record.scope === 'run' ? '' : ` --scope ${record.scope}`;
  const given = (record.targets ?? []).some(({ variant }) => variant !== undefined && !PROBES.has(variant));
  const again = given ? '    # with the same --variant as before' : '';
  return `nixferry collect${scope} ${requestInWords(record)}${again}`;
}

/** A request holds the flags that it was typed with, so only one that is a single word is quoted. */
export function requestInWords({ request }: Pick<RootRecord, 'request'>): string {
  return /^-| -/.test(request) ? request : quoteForShell(request);
}
