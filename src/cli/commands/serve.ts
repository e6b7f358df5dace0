import { type Command, Option } from 'commander';
import pino from 'pino';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { quoteForShell } from '../../base/shell-word.ts';
import { upstreamWarning } from '../../proxy/upstream-words.ts';
import { SENDFILE_HEADERS, type SendfileHeader } from '../../serve/sendfile-header.ts';
import { startServer } from '../../serve/server.ts';
import { openServiceManager } from '../../serve/service-manager.ts';
import { chooseProxy } from '../caching-proxy.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions, wholeNumber } from '../common-options.ts';
import type { CommandRun } from '../run.ts';
import { addUpstreamOptions, type UpstreamOptions } from '../upstream-options.ts';

interface ServeOptions extends CommonOptions, UpstreamOptions {
  readonly listen?: string;
  readonly workers?: number;
  readonly priority?: number;
  readonly sendfileHeader?: SendfileHeader;
  readonly publicUrl?: string;
  readonly localStore?: string | true;
  readonly sign: boolean;
  readonly lookAhead?: boolean;
}

const USUAL_ADDRESS = '127.0.0.1:8080';

export function define(command: Command, run: CommandRun): void {
  addUpstreamOptions(
    command,
    'a cache to fetch from what clients ask for and the mirror lacks; repeat for more (?priority=N sorts them)',
  )
    .option('--look-ahead', 'fetch what fetched paths refer to, too, before anybody asks')
    .option('--no-sign', 'leave the signatures of what is fetched as they are, without our own')
    .option(
      '--listen <address>',
      `HOST:PORT, :PORT for all addresses, or [IPV6]:PORT (default: the sockets that systemd passes, else ${USUAL_ADDRESS})`,
    )
    .option('--workers <n>', 'processes that serve (default: one for each core)', wholeNumber(1, 256))
    .option(
      '--priority <n>',
      'what clients sort caches by; lower is asked first (default: as the mirror says, 30)',
      wholeNumber(0, 1_000_000),
    )
    .option(
      '--public-url <url>',
      'how clients reach this server, for addresses that they keep (default: as each of them asks for it)',
    )
    .option(
      '--local-store [root]',
      'offer what is valid in the Nix store of this machine, too, signed with the key of the mirror (another store: the folder that holds its nix/)',
    )
    .addOption(
      new Option(
        '--sendfile-header <name>',
        'let the web server in front send the files (docs/guide/behind-nginx.md)',
      ).choices(SENDFILE_HEADERS),
    );
  addCommonOptions(command, [
    'nixferry serve --listen :8080',
    'nixferry serve --listen :8080 --local-store',
    'nixferry serve --listen :8080 --upstream https://cache.nixos.org',
  ]).action((options: ServeOptions) => serve(options, run));
}

/** Serves until it is told to stop. The log is JSON on stderr; that it starts goes to stdout at once, the address as soon as it answers. */
async function serve(options: ServeOptions, { output, signal }: CommandRun): Promise<void> {
  const { config, mirrorDirectory } = await readCommonOptions(options);
  output.say(`starting to serve ${mirrorDirectory}`);
  const proxy = await chooseProxy(options, config, mirrorDirectory);
  if (proxy?.trustedPublicKeys.length === 0) {
    output.warn(
      'no key is trusted for what upstreams have: only paths that prove themselves by their contents (CA:) will be passed on. Give the upstream’s public key with --trusted-public-key NAME:KEY',
    );
  }
  const logger = pino({ base: { name: 'nixferry' } }, pino.destination({ dest: 2, sync: true }));
  const manager = openServiceManager(process.env, process.pid);
  const server = await startServer({
    mirrorDirectory,
    listen: chooseListen(options.listen, manager.sockets),
    workers: options.workers,
    priority: options.priority,
    sendfileHeader: options.sendfileHeader,
    publicUrl: options.publicUrl,
    localStore: options.localStore === true ? '/' : options.localStore,
    proxy,
    logger,
    signal,
  });
  const where = server.url === '' ? 'the socket that was passed to it' : server.url;
  output.result(`serving ${mirrorDirectory} on ${where}`, { url: server.url, mirror: mirrorDirectory });
  for (const upstream of server.upstreams) {
    const warning = upstreamWarning(upstream);
    if (warning !== undefined) output.warn(warning);
  }
  const url = options.publicUrl === undefined ? 'URL' : quoteForShell(options.publicUrl);
  output.say(
    `for its clients: nixferry client-config --url ${url} prints here what is to be pasted there${url === 'URL' ? ' (URL: as they reach this machine)' : ''}`,
  );
  const tell = async (...words: string[]): Promise<void> => {
    const problem = await manager.tell(...words);
    if (problem !== undefined) logger.error({ problem }, 'the service manager could not be told how things stand');
  };
  signal.addEventListener('abort', () => void tell('STOPPING=1'), { once: true });
  await tell('READY=1', `STATUS=serving ${mirrorDirectory} on ${where}`);
  await server.closed;
  if (!signal.aborted) {
    throw new NixferryError('address-in-use', `the server on ${where} has stopped by itself`, {
      hint: 'its log above says why; start it again',
    });
  }
  output.verdict(EXIT.complete, {});
}

function chooseListen(listen: string | undefined, sockets: readonly number[]): string | readonly number[] {
  if (sockets.length === 0) return listen ?? USUAL_ADDRESS;
  if (listen === undefined) return sockets;
  throw new NixferryError('usage', `--listen ${listen} stands beside the sockets that systemd passes`, {
    hint: 'leave --listen out and name the address in the socket unit, or disable the socket unit',
  });
}
