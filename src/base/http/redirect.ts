import type { HttpResponse } from './exchange.ts';
import { HttpError } from './http-error.ts';

/** Where an answer sends us, or undefined when it is no redirect. Throws when it leads away from HTTP or nowhere. */
export function redirectTarget({ status, headers, url, body }: HttpResponse): URL | undefined {
  if (!REDIRECTS.has(status)) return undefined;
  const location = headers['location'];
  const target = location === undefined ? null : URL.parse(location, withoutCredentials(url).href);
  if (target === null || (target.protocol !== 'http:' && target.protocol !== 'https:')) {
    body.cancel();
    throw new HttpError('redirect', url, `redirects (${status}) to no http or https address`, { status });
  }
  return target;
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

function withoutCredentials(url: URL): URL {
  const bare = new URL(url);
  bare.username = '';
  bare.password = '';
  return bare;
}
