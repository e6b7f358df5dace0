import { hostname } from 'node:os';
import { pathToFileURL } from 'node:url';
import { mapConcurrent } from '../../base/concurrency.ts';
import { NixferryError } from '../../base/errors.ts';
import { findProgram } from '../../base/find-program.ts';
import { createHttpClient, type HttpClient } from '../../base/http-client.ts';
import { LIMITS } from '../../base/limits.ts';
import type { OnProgress } from '../../base/progress.ts';
import { runNix } from '../../evaluate/nix-command.ts';
import { type NixSettings, readNixSettings } from '../../evaluate/read-setting.ts';
import { readValidPublicKeys } from '../../mirror/key-rotation.ts';
import { formatPublicKey } from '../../nix/signature.ts';
import { DEFAULT_STORE_DIR, type HashPart } from '../../nix/store-path.ts';
import { bounded } from './bounded.ts';
import { cacheUrl } from './cache-url.ts';
import { checkEvaluation } from './check-evaluation.ts';
import { checkMemory } from './check-memory.ts';
import { checkMirror, isMirrorFolder } from './check-mirror.ts';
import { checkSettings, numberOf, type SettingValues, settingOf, trustedKeys } from './check-settings.ts';
import { checkSignature } from './check-signatures.ts';
import { checkSubstituters } from './check-substituters.ts';
import { checkUpstreams } from './check-upstreams.ts';
import { checkDaemon, checkUser } from './check-user.ts';
import { type Finding, fine, inShell, note, problem, warning } from './finding.ts';
import { isReadable, lookAtMachine, type Machine } from './machine.ts';
import { readNarInfoMemories } from './narinfo-memory.ts';
import { type CacheProbe, type ProbeTools, probeCache } from './probe-cache.ts';

export interface DiagnoseOptions {
  /** Also looked at, when it is a mirror. */
  readonly mirrorDirectory: string;
  readonly serverUrl: string;
  /** A cache to look at besides those of the settings. */
  readonly url?: string | undefined;
  /** A path that the caches should have. */
  readonly path?: HashPart | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** For each thing that may hang. */
  readonly timeoutMs?: number | undefined;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

export interface Diagnosis {
  readonly isServer: boolean;
  readonly nixVersion: string | undefined;
  /** Problems first, then warnings, then notes, then what is fine; within these as they were looked at. */
  readonly findings: readonly Finding[];
}

/** Looks at this machine as a client of binary caches, and at the mirror when it has one. Changes nothing, and never hangs. */
export async function diagnose(options: DiagnoseOptions): Promise<Diagnosis> {
  const machine = lookAtMachine(options.environment);
  const timeoutMs = options.timeoutMs ?? LIMITS.doctorProbeMs;
  const isServer = await isMirrorFolder(options.mirrorDirectory);
  const findings: Finding[] = [];
  let nixVersion: string | undefined;
  const nix = await askNix(machine, timeoutMs, options.signal);
  if ('finding' in nix) findings.push(isServer ? workingWithout(nix.finding) : nix.finding);
  else nixVersion = nix.version;
  const settings = 'settings' in nix ? nix : undefined;
  await using http = openHttp(settings?.settings.values, timeoutMs, options.environment);
  const tools: ProbeTools = { http, timeoutMs, signal: options.signal, behindProxy: hasProxy(options.environment) };
  if (settings !== undefined) {
    findings.push(fine('nix', `Nix ${settings.version}`), ...complaintsOf(settings.settings));
    const { probes, findings: ofClient } = await checkClient(settings, machine, tools, options);
    const servesOnly = isServer && options.url === undefined && !(await fetchesFromItself(probes, options));
    findings.push(...(servesOnly ? asNotes(ofClient, options.serverUrl) : ofClient));
  } else if (options.url !== undefined) {
    findings.push(...(await checkCaches([], machine, tools, options, new Map())).findings);
  }
  if (isServer) {
    options.onProgress({ type: 'phase', phase: 'looking at the mirror' });
    const { mirrorDirectory: directory, serverUrl, signal } = options;
    findings.push(...(await checkMirror({ directory, serverUrl, http, timeoutMs, signal })));
  }
  // A server that is a client of itself is looked at twice.
  const distinct = [...new Map(findings.map((finding) => [`${finding.id} ${finding.text}`, finding])).values()];
  return { isServer, nixVersion, findings: distinct.toSorted((a, b) => ORDER[a.level] - ORDER[b.level]) };
}

const ORDER = { problem: 0, warning: 1, note: 2, fine: 3 } as const;

interface NixHere {
  readonly version: string;
  readonly settings: NixSettings;
  /** Without what this user has set for himself. */
  readonly system: SettingValues;
}

async function askNix(
  machine: Machine,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<NixHere | { readonly finding: Finding }> {
  if (findProgram('nix') === undefined) return { finding: nixMissing() };
  const asked = await bounded(4 * timeoutMs, signal, async (limit): Promise<NixHere> => {
    const settings = await readNixSettings({ signal: limit });
    const hidden = { NIX_USER_CONF_FILES: '/dev/null', NIX_CONFIG: '' };
    const isShared = machine.daemonSocket !== undefined && !machine.isRoot;
    const system = isShared ? (await readNixSettings({ signal: limit, environment: hidden })).values : settings.values;
    return { version: await readNixVersion(limit), settings, system };
  });
  if ('value' in asked) return asked.value;
  const why = 'late' in asked ? `it did not answer within ${(4 * timeoutMs) / 1000} s` : wordsOf(asked.error);
  return {
    finding: problem('nix-broken', `Nix is here, and cannot tell its settings: ${why}`, {
      cure: 'type nix show-config (nix config show in newer versions) yourself, and correct the file that it names',
    }),
  };
}

function nixMissing(): Finding {
  const profile = '/nix/var/nix/profiles/default/bin';
  if (findProgram('nix', profile) === undefined) {
    return problem('nix-missing', 'there is no Nix on the PATH, so nothing can be said of its settings', {
      cure: 'install Nix; without a network: sh install-nix.sh from a shipment that was packed with --with-nix (or apt-get install nix-bin)',
    });
  }
  const cure = 'put it there (sudo takes it out)';
  return problem(
    'nix-not-on-path',
    `Nix is installed in ${profile}, which is not on the PATH`,
    inShell(cure, `export PATH="$PATH:${profile}"`),
  );
}

/** A server needs no Nix. */
function workingWithout(finding: Finding): Finding {
  return { ...finding, level: 'note', text: `${finding.text}; a server works without` };
}

async function readNixVersion(signal: AbortSignal): Promise<string> {
  const printed = await runNix('nix', ['--version'], { purpose: 'asking Nix for its version', signal });
  return printed.toString('utf8').trim().split(' ').at(-1) ?? '';
}

function wordsOf(error: unknown): string {
  if (error instanceof NixferryError) return error.message;
  throw error;
}

/** What Nix itself found odd, but for what it says to everybody. */
function complaintsOf({ complaints }: NixSettings): Finding[] {
  const odd = complaints.filter((line) => !/don't have Internet access|deprecated alias/.test(line)).slice(0, 10);
  return odd.map((line) =>
    warning('nix-complains', `Nix says: ${line}`, {
      cure: 'correct the setting that it names, in /etc/nix/nix.conf or ~/.config/nix/nix.conf',
    }),
  );
}

/** What is wrong with the settings of Nix on a machine that is there to serve: so it is, and no client is hindered by it. */
function asNotes(findings: readonly Finding[], serverUrl: string): Finding[] {
  const notes = findings.map(
    (finding): Finding => (finding.level === 'fine' ? finding : { ...finding, level: 'note' }),
  );
  if (notes.every(({ level }) => level === 'fine')) return notes;
  const text =
    'the Nix of this machine does not fetch from the mirror here, so what is said of its settings hinders no client of that';
  return [
    note('server-only', text, { cure: `to look at it as at a client: nixferry doctor --url ${serverUrl}` }),
    ...notes,
  ];
}

/** Whether one of the caches is the server of the mirror here, by its keys or by its address. */
async function fetchesFromItself(
  probes: readonly CacheProbe[],
  { mirrorDirectory, serverUrl }: DiagnoseOptions,
): Promise<boolean> {
  const keys = await readValidPublicKeys({ directory: mirrorDirectory }).catch((error: unknown) => {
    // Which is told where the mirror is looked at.
    if (error instanceof NixferryError) return [];
    throw error;
  });
  const own = new Set(keys.map(formatPublicKey));
  const addresses = new Set([serverUrl, pathToFileURL(mirrorDirectory).href].map((text) => cacheUrl(text)?.href));
  return probes.some(({ address, server }) => {
    if (server !== undefined) return server.publicKeys.some((key) => own.has(key));
    const url = cacheUrl(address);
    return url !== undefined && (addresses.has(url.href) || OWN_HOSTS.has(url.hostname));
  });
}

const OWN_HOSTS: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]', hostname().toLowerCase()]);

async function checkClient(
  nix: NixHere,
  machine: Machine,
  tools: ProbeTools,
  options: DiagnoseOptions,
): Promise<{ readonly probes: readonly CacheProbe[]; readonly findings: readonly Finding[] }> {
  const { values } = nix.settings;
  const findings = [...checkSettings(values, machine)];
  findings.push(
    ...checkUser({ own: values, system: nix.system }, machine),
    ...(await checkDaemon(machine, tools.timeoutMs)),
  );
  const { probes, findings: ofCaches } = await checkCaches(
    values.get('substituters') ?? [],
    machine,
    tools,
    options,
    values,
  );
  findings.push(...ofCaches);
  options.onProgress({ type: 'phase', phase: 'looking at what Nix remembers' });
  const caches = probes.filter(({ state }) => state.is === 'answering').map(({ address }) => address);
  for (const { user, folder } of machine.nixCaches) {
    for (const memory of readNarInfoMemories(folder, Date.now() / 1000)) {
      findings.push(
        ...(await checkMemory(memory, {
          ...tools,
          user,
          caches,
          keys: trustedKeys(values),
          requireSigs: settingOf(values, 'require-sigs') !== 'false',
          negativeTtlSeconds: numberOf(values, 'narinfo-cache-negative-ttl') ?? 3600,
          positiveTtlSeconds: numberOf(values, 'narinfo-cache-positive-ttl') ?? 30 * 24 * 3600,
        })),
      );
    }
  }
  findings.push(...(await checkEvaluation({ ...tools, values, machine, probes })));
  return { probes, findings };
}

async function checkCaches(
  addresses: readonly string[],
  machine: Machine,
  tools: ProbeTools,
  { url, path, onProgress }: DiagnoseOptions,
  values: SettingValues,
): Promise<{ readonly probes: readonly CacheProbe[]; readonly findings: readonly Finding[] }> {
  const all = [...new Set([...addresses, ...(url === undefined ? [] : [url])])];
  onProgress({ type: 'phase', phase: 'asking the caches', totalItems: all.length });
  const probes = await mapConcurrent(all, LIMITS.doctorProbesAtOnce, (address) => probeCache(address, tools));
  const storeDir = DEFAULT_STORE_DIR;
  const netrcFile = settingOf(values, 'netrc-file') ?? '/etc/nix/netrc';
  const findings = [
    ...checkSubstituters(probes, { style: machine, storeDir, netrcFile, wanted: url }),
    ...probes.flatMap(checkUpstreams),
  ];
  const answering = probes.filter(({ state }) => state.is === 'answering');
  const signed = await mapConcurrent(answering, LIMITS.doctorProbesAtOnce, (probe) =>
    checkSignature(probe, {
      ...tools,
      style: machine,
      storeDir,
      keys: trustedKeys(values),
      requireSigs: settingOf(values, 'require-sigs') !== 'false',
      wanted: path,
    }),
  );
  return { probes, findings: [...findings, ...signed.flat()] };
}

function openHttp(
  values: SettingValues | undefined,
  timeoutMs: number,
  environment: DiagnoseOptions['environment'],
): HttpClient {
  const netrcFile = values === undefined ? undefined : settingOf(values, 'netrc-file');
  return createHttpClient({
    connectTimeoutMs: timeoutMs,
    stallTimeoutMs: timeoutMs,
    attempts: 1,
    environment,
    // Nix names one whether it is there or not.
    ...(netrcFile !== undefined && isReadable(netrcFile) ? { netrcFile } : {}),
  });
}

/** Then it is the proxy that looks names up. */
function hasProxy(environment: DiagnoseOptions['environment']): boolean {
  const names = ['http_proxy', 'https_proxy', 'all_proxy'];
  return names.some((name) => (environment[name] ?? environment[name.toUpperCase()] ?? '') !== '');
}
