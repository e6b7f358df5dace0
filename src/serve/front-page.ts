import type { FastifyRequest } from 'fastify';
import { formatBytes, formatCount } from '../base/amounts.ts';
import type { ServerStatus } from '../mirror/server-status.ts';
import type { ProxyFacts } from '../proxy/protocol.ts';
import { formatClientConfig } from '../site/client-config.ts';
import { type HealthCheck, runHealthChecks } from './health-checks.ts';
import { reachedUrl } from './public-url.ts';
import type { ServeContext } from './serve-context.ts';

/** What the first page says; front-page-html.ts and front-page-text.ts write it down. A dashboard would begin from the same. */
export interface FrontPage {
  /** How this client has reached us. */
  readonly url: string;
  readonly status: ServerStatus;
  readonly checks: readonly HealthCheck[];
  /** The caches that are asked for what is not here, and what came of it; undefined: none is, or it cannot be said just now. */
  readonly proxy: ProxyFacts | undefined;
  /** For nix.conf; undefined as long as there is no key. */
  readonly nixConf: string | undefined;
}

export async function makeFrontPage(request: FastifyRequest, context: ServeContext): Promise<FrontPage> {
  const [status, gitRewrites, checks, proxy] = await Promise.all([
    context.summary.read(),
    context.summary.gitRewrites(),
    runHealthChecks(context),
    context.proxy?.facts(),
  ]);
  const url = reachedUrl(request, context.publicUrl);
  const { publicKeys } = status;
  const nixConf =
    publicKeys.length === 0 ? undefined : formatClientConfig({ format: 'nix-conf', url, publicKeys, gitRewrites });
  return { url, status, checks, proxy, nixConf };
}

export const WHAT_IT_IS =
  'This is a Nix binary cache, served by Nixferry. Nix on this network fetches software from here instead of from the internet.';
export const NO_KEY =
  'This mirror has no key of its own yet: clients must trust the keys of those who signed what it holds.';

/** `1,234 paths, 5.6 GB`; undefined when it is not known. */
export function amountHere({ status: { holds } }: FrontPage): string | undefined {
  return holds === undefined ? undefined : inWords(holds);
}

/** What came through the proxy; undefined where there is none. */
export function amountFetched({ proxy }: FrontPage): string | undefined {
  if (proxy === undefined) return undefined;
  const { fetched, waiting } = proxy;
  const held = waiting.paths === 0 ? '' : `; waiting until all that they refer to is here, too: ${inWords(waiting)}`;
  return `${inWords(fetched)} fetched since the start${held}`;
}

function inWords({ paths, fileBytes }: { readonly paths: number; readonly fileBytes: number }): string {
  return `${formatCount(paths, 'path')} (${formatBytes(fileBytes)})`;
}

export function isHealthy({ checks }: FrontPage): boolean {
  return checks.every(({ ok }) => ok);
}

/** One step of setting up a client: what it is for, and what to type or paste. */
export interface FrontPageStep {
  readonly title: string;
  readonly text: string;
  readonly lines: readonly string[];
}

/** In the order of how many need them. */
export function clientSteps({ url, nixConf }: FrontPage): FrontPageStep[] {
  if (nixConf === undefined) return [];
  return [
    {
      title: 'A machine with NixOS',
      text: 'Save the configuration beside your own, add ./nixferry.nix to its imports, and switch, in one root shell. (With flakes: client.nix?flakes.)',
      lines: [
        `curl -fo /etc/nixos/nixferry.nix ${url}/client.nix`,
        `. <(curl -f ${url}/nix-env.sh)  # so that this switch, too, fetches from here`,
        'nixos-rebuild switch',
      ],
    },
    {
      title: 'Any other Linux with Nix',
      text: 'Read the lines, put them into /etc/nix/nix.conf in place of those with the same names, and restart the daemon.',
      lines: [`curl -f ${url}/nix.conf`, 'systemctl restart nix-daemon'],
    },
    {
      title: 'A new machine: nixos-install',
      text: 'In a root shell of the installer. It listens to its command line alone, so everything stands there.',
      lines: [`curl -fo nixos-install.sh ${url}/nixos-install.sh`, 'less nixos-install.sh', 'bash nixos-install.sh'],
    },
    {
      title: 'Just one shell, to try it out',
      text: 'As root, or as somebody whom trusted-users in nix.conf names.',
      lines: [`. <(curl -f ${url}/nix-env.sh)`],
    },
    {
      title: 'Something does not work',
      text: 'On the machine in question. It changes nothing, and says what to paste.',
      lines: [`nixferry doctor --url ${url}`],
    },
  ];
}
