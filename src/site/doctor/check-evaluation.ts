import { execFile } from 'node:child_process';
import { findProgram } from '../../base/find-program.ts';
import { LIMITS } from '../../base/limits.ts';
import { bounded, lookUpName } from './bounded.ts';
import { cacheUrl } from './cache-url.ts';
import { numberOf, type SettingValues, settingOf } from './check-settings.ts';
import { type Finding, fine, problem, settingRemedy, warning } from './finding.ts';
import type { Machine } from './machine.ts';
import type { CacheProbe, ProbeTools } from './probe-cache.ts';

export interface EvaluationOptions extends ProbeTools {
  readonly values: SettingValues;
  readonly machine: Machine;
  readonly probes: readonly CacheProbe[];
}

/** What evaluating asks for besides caches: the registry of flakes, and sources by their hashes. */
export async function checkEvaluation(options: EvaluationOptions): Promise<Finding[]> {
  return [...(await checkRegistry(options)), ...(await checkHashedMirrors(options))];
}

async function checkRegistry(options: EvaluationOptions): Promise<Finding[]> {
  const { values, machine, probes } = options;
  if (!(values.get('experimental-features') ?? []).includes('flakes')) return [];
  const registry = settingOf(values, 'flake-registry') ?? '';
  const url = URL.parse(registry);
  if (url === null || !url.protocol.startsWith('http')) {
    return [fine('flake-registry', 'short names of flakes are looked up on this machine')];
  }
  const why = await whyUnreachable(url, options);
  if (why === undefined)
    return [fine('flake-registry', `short names of flakes are looked up at ${url.host}, which answers`)];
  const mirror = probes.find(({ server }) => server !== undefined)?.address.replace(/\/+$/, '');
  const ttl = numberOf(values, 'tarball-ttl') ?? 3600;
  const remedy = settingRemedy(
    machine,
    mirror === undefined ? 'look them up nowhere' : 'look them up at the mirror',
    { name: 'flake-registry', value: mirror === undefined ? ABSENT_REGISTRY : `${mirror}/flake-registry.json` },
    ...(mirror === undefined
      ? [{ name: 'tarball-ttl', value: FOREVER }]
      : ttl > 60
        ? [{ name: 'tarball-ttl', value: 60 }]
        : []),
  );
  return [
    problem('flake-registry', `short names of flakes, such as nixpkgs, are looked up at ${registry}: ${why}`, remedy),
  ];
}

/** As `client-config` has it: an empty setting makes look-ups fail up to 2.8. */
const ABSENT_REGISTRY = '/var/empty/flake-registry.json';
const FOREVER = 4_294_967_295;

async function whyUnreachable(url: URL, tools: ProbeTools): Promise<string | undefined> {
  if (!tools.behindProxy) {
    const found = await bounded(tools.timeoutMs, tools.signal, (limit) => lookUpName(url.hostname, limit));
    if ('late' in found) return 'no name server answers';
    if ('value' in found && found.value?.length === 0) return `the name ${url.hostname} is unknown here`;
  }
  const answer = await bounded(tools.timeoutMs, tools.signal, (signal) =>
    tools.http.getBytes(url, { maxBytes: LIMITS.serverStatusBytes, signal }),
  );
  if ('late' in answer) return `no answer within ${tools.timeoutMs / 1000} s`;
  return 'error' in answer ? String(answer.error instanceof Error ? answer.error.message : answer.error) : undefined;
}

/** A mirror answers for sources by their hashes; only who is told asks it. */
async function checkHashedMirrors({
  values,
  machine,
  probes,
  signal,
  timeoutMs,
}: EvaluationOptions): Promise<Finding[]> {
  const mirror = probes.find(({ server }) => server !== undefined)?.address;
  const url = mirror === undefined ? undefined : cacheUrl(mirror);
  if (url === undefined) return [];
  const hashed = `${url.href.replace(/\/+$/, '')}/hashed`;
  const findings: Finding[] = [];
  if ((values.get('hashed-mirrors') ?? []).map((text) => text.replace(/\/+$/, '')).includes(hashed)) {
    findings.push(fine('hashed-mirrors', 'sources that Nix itself fetches are asked for at the mirror'));
  } else {
    const remedy = settingRemedy(machine, 'have them asked for at the mirror first', {
      name: 'hashed-mirrors',
      value: [hashed],
    });
    findings.push(
      warning(
        'hashed-mirrors',
        'sources that Nix itself fetches are looked for on the internet alone (hashed-mirrors)',
        remedy,
      ),
    );
  }
  const builders = await builderEnvironment(machine, signal, timeoutMs);
  if (builders.includes(hashed)) {
    findings.push(fine('NIX_HASHED_MIRRORS', 'sources that builders fetch are asked for at the mirror'));
  } else {
    findings.push(
      warning(
        'NIX_HASHED_MIRRORS',
        'sources that builders fetch are looked for on the internet alone (NIX_HASHED_MIRRORS)',
        {
          cure: machine.daemonSocket === undefined ? 'set it before you build' : 'give it to the daemon',
          paste: pasteForBuilders(machine, hashed),
        },
      ),
    );
  }
  return findings;
}

function pasteForBuilders({ isNixos, daemonSocket }: Machine, hashed: string): { into: string; lines: string[] } {
  if (daemonSocket === undefined) return { into: 'a shell', lines: [`export NIX_HASHED_MIRRORS='${hashed}'`] };
  if (isNixos) {
    const line = `systemd.services.nix-daemon.environment.NIX_HASHED_MIRRORS = "${hashed}";`;
    return { into: '/etc/nixos/configuration.nix', lines: [line] };
  }
  const lines = ['[Service]', `Environment="NIX_HASHED_MIRRORS=${hashed}"`];
  return { into: 'systemctl edit nix-daemon', lines };
}

/** What builders find: the environment of the daemon, or ours where there is none. */
async function builderEnvironment(machine: Machine, signal: AbortSignal, timeoutMs: number): Promise<string> {
  const own = machine.environment['NIX_HASHED_MIRRORS'] ?? '';
  const systemctl = findProgram('systemctl');
  if (machine.daemonSocket === undefined || systemctl === undefined) return own;
  const shown = await bounded(
    timeoutMs,
    signal,
    (limit) =>
      new Promise<string>((resolve) => {
        const args = ['show', '--property=Environment', 'nix-daemon.service'];
        // Where systemd does not run, it says so and fails: then nobody has given the daemon anything.
        execFile(systemctl, args, { signal: limit, killSignal: 'SIGKILL' }, (_error, stdout) => resolve(stdout));
      }),
  );
  return 'value' in shown ? shown.value : '';
}
