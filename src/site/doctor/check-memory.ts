import { formatCount } from '../../base/amounts.ts';
import { mapConcurrent } from '../../base/concurrency.ts';
import { LIMITS } from '../../base/limits.ts';
import { narInfoName } from '../../mirror/layout.ts';
import type { PublicKey } from '../../nix/signature.ts';
import { isHashPart } from '../../nix/store-path.ts';
import { bounded } from './bounded.ts';
import { below, cacheUrl } from './cache-url.ts';
import { type Finding, fine, inShell, problem, warning } from './finding.ts';
import type { NarInfoMemory, RememberedNarInfo } from './narinfo-memory.ts';
import type { ProbeTools } from './probe-cache.ts';

export interface MemoryOptions extends ProbeTools {
  /** Whose. */
  readonly user: string;
  /** The substituters that answer: only about these is there anything to say. */
  readonly caches: readonly string[];
  readonly keys: readonly PublicKey[];
  readonly requireSigs: boolean;
  readonly negativeTtlSeconds: number;
  readonly positiveTtlSeconds: number;
}

/** How many remembered absences are asked for again. */
const ASKED_AGAIN = 24;

/** What Nix remembers of caches and would act upon though it is not so, or no longer so. */
export async function checkMemory(memory: NarInfoMemory, options: MemoryOptions): Promise<Finding[]> {
  const { user, caches } = options;
  if (memory.rows === undefined)
    return [warning('memory-unreadable', `what the Nix of ${user} remembers cannot be read (${memory.file})`)];
  const here = new Set(caches.map(tidy));
  const rows = memory.rows.filter(({ cache }) => here.has(tidy(cache)));
  const findings: Finding[] = [];
  const absent = rows.filter((row) => !row.present && row.ageSeconds < options.negativeTtlSeconds);
  const back = await findBack(absent, options);
  const forget = inShell(
    'let Nix forget what it remembers (or add --refresh to the command)',
    `rm -f ${memory.file} ${memory.file}-wal ${memory.file}-shm`,
  );
  if (back.length > 0) {
    const [first] = back;
    const text = `the Nix of ${user} remembers ${formatCount(back.length, 'path')} as missing that ${first?.cache} has now (such as ${first?.hashPart}), and does not ask again for up to ${formatCount(Math.round(options.negativeTtlSeconds / 60), 'minute')}`;
    findings.push(problem('remembered-missing', text, forget));
  }
  const refused = rows.filter(
    (row) => row.present && row.ageSeconds < options.positiveTtlSeconds && !counts(row, options),
  );
  if (refused.length > 0 && options.requireSigs) {
    const [first] = refused;
    const text = `the Nix of ${user} remembers ${formatCount(refused.length, 'path')} of ${first?.cache} without a signature that counts here (such as ${first?.hashPart}), and goes on refusing them for up to 30 days, also when they are signed now`;
    findings.push(problem('remembered-unsigned', text, forget));
  }
  if (findings.length === 0) {
    findings.push(
      fine('remembered', `what the Nix of ${user} remembers of these caches is no hindrance (${memory.file})`),
    );
  }
  return findings;
}

function counts(row: RememberedNarInfo, { keys }: MemoryOptions): boolean {
  return row.hasContentAddress || row.signatures.some((text) => keys.some(({ name }) => text.startsWith(`${name}:`)));
}

/** Nix writes addresses without a slash at the end, in some versions with. */
function tidy(address: string): string {
  return (cacheUrl(address)?.href ?? address).replace(/\/+$/, '');
}

async function findBack(absent: readonly RememberedNarInfo[], options: MemoryOptions): Promise<RememberedNarInfo[]> {
  const { http, timeoutMs, signal } = options;
  const back: RememberedNarInfo[] = [];
  await bounded(timeoutMs, signal, (limit) =>
    mapConcurrent(absent.slice(0, ASKED_AGAIN), LIMITS.doctorProbesAtOnce, async (row) => {
      const url = cacheUrl(row.cache);
      if (!isHashPart(row.hashPart) || url?.protocol.startsWith('http') !== true) return;
      const answer = await http
        .getBytes(below(url, narInfoName(row.hashPart)), {
          maxBytes: LIMITS.narInfoBytes,
          signal: limit,
          accept: [404, 403],
        })
        .catch(() => undefined);
      if (answer?.status === 200) back.push(row);
    }),
  );
  return back;
}
