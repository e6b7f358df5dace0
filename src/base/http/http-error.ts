import { type ErrorDetails, NixferryError, systemErrorCode } from '../errors.ts';
import { showUrl } from './shown-url.ts';

/**
 * What kind of failure a request ended with:
 * `host-down`: nobody, or nobody to be trusted, can be reached at that address, and that is remembered;
 * `broken`: the connection broke, before the answer or within its body; asking again, by Range, may help;
 * `stalled`: nothing, or next to nothing, came for too long; as `broken`;
 * `changed`: the server now has other bytes at this address than those already received;
 * `status`: the server answered, with a status that the caller does not accept;
 * `redirect`: too many redirects, or one to where we do not go;
 * `too-large`: the body is larger than the bound;
 * `refused`: the answer breaks the protocol in a way that asking again does not cure.
 */
export type HttpFailure =
  | 'host-down'
  | 'broken'
  | 'stalled'
  | 'changed'
  | 'status'
  | 'redirect'
  | 'too-large'
  | 'refused';

export interface HttpErrorDetails extends ErrorDetails {
  readonly status?: number;
}

/** A request that failed; the message names the address without credentials. */
export class HttpError extends NixferryError {
  readonly failure: HttpFailure;
  /** Without credentials. */
  readonly url: string;
  /** The message without the address. */
  readonly what: string;
  readonly status: number | undefined;

  constructor(failure: HttpFailure, url: URL | string, what: string, details: HttpErrorDetails = {}) {
    const shown = showUrl(url);
    super('upstream-unreachable', `${shown}: ${what}`, details);
    this.failure = failure;
    this.url = shown;
    this.what = what;
    this.status = details.status;
  }
}

/** Whether the same transfer may go on where it stopped, or be asked for again. */
export function isBrokenTransfer(error: unknown): error is HttpError {
  return error instanceof HttpError && (error.failure === 'broken' || error.failure === 'stalled');
}

export function isHostDown(error: unknown): error is HttpError {
  return error instanceof HttpError && error.failure === 'host-down';
}

/** What an exception of the transport means, before the host's history is weighed. */
export interface TransportFailure {
  /** `final`: asking again changes nothing. */
  readonly stage: 'connect-timeout' | 'connect' | 'final' | 'headers-timeout' | 'transfer';
  readonly error: HttpError;
}

/** Names what undici, Node's net, tls, dns or http2 threw while a request was made or its body was read. */
export function explainTransportError(thrown: unknown, url: URL): TransportFailure {
  const cause = innermost(thrown);
  const code = systemErrorCode(cause) ?? '';
  if (cause instanceof HttpError) return { stage: 'connect', error: cause };
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') {
    const error = new HttpError('host-down', url, `no connection to ${url.host} within the time allowed`, {
      hint: 'check the address, the network and the proxy',
      cause,
    });
    return { stage: 'connect-timeout', error };
  }
  const unreachable = CONNECT_FAILURES[code];
  if (unreachable !== undefined) {
    const hint = 'check the address, the network and the proxy';
    return { stage: 'connect', error: new HttpError('host-down', url, `${unreachable} (${code})`, { hint, cause }) };
  }
  if (CERTIFICATE_CODES.test(code)) {
    const error = new HttpError('host-down', url, `the certificate of ${url.host} is not trusted (${code})`, {
      hint: 'if this server has a certificate of its own authority, name its file in SSL_CERT_FILE',
      cause,
    });
    return { stage: 'final', error };
  }
  if (code === 'UND_ERR_HEADERS_TIMEOUT') {
    return { stage: 'headers-timeout', error: new HttpError('stalled', url, 'no answer came', { cause }) };
  }
  if (code === 'UND_ERR_BODY_TIMEOUT') {
    return { stage: 'transfer', error: new HttpError('stalled', url, 'the transfer stood still', { cause }) };
  }
  const detail = cause instanceof Error ? cause.message : String(cause);
  return { stage: 'transfer', error: new HttpError('broken', url, `the connection broke (${detail})`, { cause }) };
}

/** As `explainTransportError`, for what goes wrong once the answer has begun: then nothing speaks against the host. */
export function explainBodyError(error: unknown, url: URL): HttpError {
  if (error instanceof HttpError) return error;
  const explained = explainTransportError(error, url).error;
  if (explained.failure !== 'host-down') return explained;
  return new HttpError('broken', url, `the connection broke (${explained.what})`, { cause: error });
}

const CONNECT_FAILURES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the host refuses connections',
  ENOTFOUND: 'the host name is unknown',
  EAI_AGAIN: 'the host name cannot be looked up',
  EAI_FAIL: 'the host name cannot be looked up',
  EHOSTUNREACH: 'the host cannot be reached',
  EHOSTDOWN: 'the host cannot be reached',
  ENETUNREACH: 'the network of the host cannot be reached',
  ENETDOWN: 'the network is down',
  EADDRNOTAVAIL: 'the network of the host cannot be reached',
};

const CERTIFICATE_CODES =
  /^(?:CERT_|UNABLE_TO_(?:GET|VERIFY|DECRYPT|DECODE)_|(?:DEPTH_ZERO_)?SELF_SIGNED|ERR_TLS_CERT_|INVALID_CA|HOSTNAME_MISMATCH)/;

// Node tries several addresses of one host and then throws an AggregateError; its last word is as good as any.
function innermost(error: unknown): unknown {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.at(-1);
  return error;
}
