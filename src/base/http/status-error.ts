import type { HttpResponse } from './exchange.ts';
import { HttpError } from './http-error.ts';
import { isRetryableStatus } from './retry-policy.ts';

/** The error for an answer whose status the caller does not accept, with the cure where there is one. */
export function statusError({ status, url }: HttpResponse, hadCredentials: boolean): HttpError {
  return new HttpError('status', url, `the server answers ${describe(status)}`, {
    status,
    hint: hintFor(status, url, hadCredentials),
  });
}

function describe(status: number): string {
  const name = NAMES[status];
  return name === undefined ? String(status) : `${status} (${name})`;
}

function hintFor(status: number, url: URL, hadCredentials: boolean): string | undefined {
  if (status === 401 && hadCredentials)
    return `check the user name and password for ${url.hostname} in your netrc file`;
  if (status === 401) {
    return `add a line "machine ${url.hostname} login USER password PASSWORD" to ~/.netrc, or name another file with --netrc-file`;
  }
  if (status === 407) return 'write user name and password into HTTP_PROXY: http://USER:PASSWORD@HOST:PORT';
  if (status === 404 || status === 410) return 'check the address';
  if (isRetryableStatus(status)) return 'the server is in trouble or overloaded; try again later';
  return undefined;
}

const NAMES: Readonly<Record<number, string>> = {
  400: 'bad request',
  401: 'a user name and password are needed',
  403: 'forbidden',
  404: 'not found',
  407: 'the proxy wants a user name and password',
  408: 'timeout',
  410: 'gone',
  416: 'no such range',
  429: 'too many requests',
  500: 'server error',
  502: 'bad gateway',
  503: 'unavailable',
  504: 'gateway timeout',
};
