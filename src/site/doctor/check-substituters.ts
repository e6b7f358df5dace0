import { findProgram } from '../../base/find-program.ts';
import { cacheUrl } from './cache-url.ts';
import { type Finding, fine, inShell, problem, type SettingsStyle, settingRemedy, warning } from './finding.ts';
import type { CacheProbe, CacheState } from './probe-cache.ts';

export interface SubstituterOptions {
  readonly style: SettingsStyle;
  readonly storeDir: string;
  /** Where this Nix reads names and passwords from. */
  readonly netrcFile: string;
  /** Given by the user besides those of the settings. */
  readonly wanted?: string | undefined;
}

const INTERNET_CACHES: ReadonlySet<string> = new Set(['cache.nixos.org', 'nix-community.cachix.org']);

/** What the answers of all substituters mean for this machine. */
export function checkSubstituters(probes: readonly CacheProbe[], options: SubstituterOptions): Finding[] {
  if (probes.length > 0) return probes.flatMap((probe) => checkOne(probe, probes, options));
  return [
    problem('no-substituters', 'Nix has no cache to fetch from: the setting substituters is empty', {
      cure: 'take the lines that the server of your network gives at its address (/nix.conf, /client.nix), or type there: nixferry client-config --url URL',
    }),
  ];
}

function checkOne(probe: CacheProbe, probes: readonly CacheProbe[], options: SubstituterOptions): Finding[] {
  const { address, state } = probe;
  switch (state.is) {
    case 'not-asked':
      return [warning('substituter-not-asked', `${address} was not asked: only Nix itself can follow that address`)];
    case 'unreachable':
      return [explainUnreachable(address, state, probes, options)];
    case 'refusing':
      return [explainRefusal(address, state.status, options)];
    case 'no-cache':
      return [
        problem('substituter-no-cache', `${address} is no binary cache: ${state.why}`, {
          cure: 'correct the address in substituters: it is the one below which nix-cache-info lies',
        }),
      ];
    case 'answering':
      return checkAnswering(probe, options);
  }
}

function explainUnreachable(
  address: string,
  state: CacheState & { readonly is: 'unreachable' },
  probes: readonly CacheProbe[],
  { style, wanted }: SubstituterOptions,
): Finding {
  const others = probes.filter((probe) => probe.state.is === 'answering').map((probe) => probe.address);
  const host = cacheUrl(address)?.hostname ?? '';
  const isInternet = INTERNET_CACHES.has(host);
  const text = isInternet
    ? `${address} is still among the substituters, and cannot be reached (${state.why}): each command of Nix first waits for it, up to 15 minutes`
    : `${address} cannot be reached: ${state.why}`;
  const id = isInternet
    ? 'internet-cache'
    : state.by === 'dns'
      ? 'substituter-unknown-name'
      : 'substituter-unreachable';
  if (others.length > 0) {
    const setting = { name: 'substituters', value: others, force: true };
    return problem(id, text, settingRemedy(style, 'leave only caches in the list that answer', setting));
  }
  if (wanted === address || !isInternet) {
    return problem(id, text, {
      cure: 'see that the server is on and nixferry serve runs there (nixferry doctor on it says more), that its firewall lets you in, and that the address is right',
      ...(findProgram('curl') === undefined
        ? {}
        : { paste: { into: 'a shell', lines: [`curl -v --max-time 5 ${quote(`${address}/nix-cache-info`)}`] } }),
    });
  }
  return problem(id, text, {
    cure: 'put the address of your own mirror in its place: its page at / gives the lines (with mkForce on NixOS, which otherwise adds cache.nixos.org again)',
  });
}

function explainRefusal(address: string, status: number, { netrcFile }: SubstituterOptions): Finding {
  const host = cacheUrl(address)?.hostname ?? 'HOST';
  return problem(
    'substituter-refuses',
    `${address} answers ${status}: it wants a name and a password, or other ones; Nix takes that for a cache that has nothing`,
    inShell(
      `put them into ${netrcFile}, where the daemon reads them (setting netrc-file)`,
      `echo 'machine ${host} login NAME password PASSWORD' >> ${netrcFile}`,
      `chmod 600 ${netrcFile}`,
    ),
  );
}

function checkAnswering(probe: CacheProbe, { storeDir }: SubstituterOptions): Finding[] {
  const { address, info, aheadMs, server, tookMs } = probe;
  if (info !== undefined && info.storeDir !== storeDir) {
    return [
      problem(
        'store-dir',
        `${address} holds paths of ${info.storeDir}; the store here is ${storeDir}, and Nix refuses it`,
        {
          cure: 'take it out of substituters, or name a cache of the same store folder',
        },
      ),
    ];
  }
  const findings: Finding[] = [];
  const what = server === undefined ? 'a binary cache' : 'a Nixferry';
  findings.push(fine('substituter', `${address} answers (${what}, ${Math.round(tookMs)} ms)`));
  if (info?.wantMassQuery === false) {
    findings.push(
      warning(
        'mass-query',
        `${address} does not allow many questions at once (WantMassQuery), so that Nix does not ask it what it could fetch`,
        {
          cure: 'set WantMassQuery: 1 in its nix-cache-info',
        },
      ),
    );
  }
  if (aheadMs !== undefined && Math.abs(aheadMs) > CLOCK_TOLERANCE_MS) {
    const minutes = Math.round(Math.abs(aheadMs) / 60_000);
    const how = aheadMs > 0 ? 'behind' : 'ahead of';
    findings.push(
      warning(
        'clock',
        `the clock here is ${minutes} minutes ${how} that of ${address}: certificates may count as not valid, and remembered answers for too long`,
        inShell(
          'set the clock',
          'timedatectl set-ntp true',
          `date --set="$(date --date='${minutes} minutes${aheadMs > 0 ? '' : ' ago'}')"`,
        ),
      ),
    );
  }
  return findings;
}

const CLOCK_TOLERANCE_MS = 5 * 60_000;

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
