import { isIPv6 } from 'node:net';
import { NixferryError } from '../base/errors.ts';

export interface ListenAddress {
  /** Undefined: every address of this machine. */
  readonly host: string | undefined;
  /** 0: any free one. */
  readonly port: number;
}

/** Reads HOST:PORT, :PORT or [IPV6]:PORT. Throws `usage`. */
export function parseListenAddress(text: string): ListenAddress {
  const match = /^(?:\[([^\]]+)\]|([^:[\]\s/@]*)):(\d{1,5})$/.exec(text);
  if (match === null) throw badAddress(text, 'it is not HOST:PORT');
  const [, bracketed, name = '', digits = ''] = match;
  if (bracketed !== undefined && !isIPv6(bracketed)) throw badAddress(text, `${bracketed} is not an IPv6 address`);
  const port = Number(digits);
  if (port > 65_535) throw badAddress(text, 'ports end at 65535');
  const host = bracketed ?? name;
  return { host: host === '' || host === '*' ? undefined : host, port };
}

/** An address that a browser or Nix on this machine can use. */
export function formatServerUrl(host: string | undefined, port: number): string {
  if (host === undefined || host === '::' || host === '0.0.0.0') return `http://localhost:${port}`;
  return isIPv6(host) ? `http://[${host}]:${port}` : `http://${host}:${port}`;
}

/** What went wrong when listening, in words; other errors come back as they are. */
export function explainListenError(error: unknown, text: string): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  const explain = LISTEN_PROBLEMS.get(String(error.code));
  if (explain === undefined) return error;
  const [problem, hint] = explain;
  return new NixferryError('address-in-use', `cannot listen on ${text}: ${problem}`, { hint, cause: error });
}

const LISTEN_PROBLEMS: ReadonlyMap<string, readonly [problem: string, hint: string]> = new Map([
  [
    'EADDRINUSE',
    ['another program listens there already', 'name another port with --listen, or stop the other program'],
  ],
  ['EACCES', ['this user may not use that port', 'name a port above 1023 with --listen']],
  [
    'EADDRNOTAVAIL',
    ['this machine has no such address', 'name one of its own addresses, or only the port, as in :8080'],
  ],
  ['EAFNOSUPPORT', ['this machine has no such kind of address', 'name another of its addresses, as in 0.0.0.0:8080']],
  ['ENOTFOUND', ['that name has no address', 'name an address, or only the port, as in :8080']],
  ['EAI_AGAIN', ['that name could not be looked up', 'name an address, or only the port, as in :8080']],
]);

function badAddress(text: string, problem: string): NixferryError {
  return new NixferryError('usage', `cannot listen on ${JSON.stringify(text)}: ${problem}`, {
    hint: 'write --listen HOST:PORT, such as 127.0.0.1:8080, [::1]:8080, or :8080 for every address of this machine',
  });
}
