import { type Clock, systemClock } from './clock.ts';
import { decodeContent } from './http/content-encoding.ts';
import { Credentials, chooseNetrcFile } from './http/credentials.ts';
import { type ExchangeTools, exchange, type HttpHeaders, type HttpResponse } from './http/exchange.ts';
import { type HostDownTimes, HostHealth } from './http/host-health.ts';
import { HttpError, isBrokenTransfer } from './http/http-error.ts';
import { type ProxySettings, proxyChoice, proxySettingsFrom } from './http/proxy-choice.ts';
import { redirectTarget } from './http/redirect.ts';
import { DEFAULT_RETRY_POLICY, type RetryPolicy, retryDelayMs } from './http/retry-policy.ts';
import { statusError } from './http/status-error.ts';
import { Transport } from './http/transport.ts';
import { chooseCaFiles, openTrust } from './http/trusted-certificates.ts';
import { LIMITS } from './limits.ts';

export type { HttpHeaders, HttpResponse } from './http/exchange.ts';
export { HttpError, isBrokenTransfer, isHostDown } from './http/http-error.ts';

export interface HttpClientOptions {
  readonly connectTimeoutMs?: number;
  /** For the head of an answer, and for any stretch of a body in which next to nothing comes. */
  readonly stallTimeoutMs?: number;
  readonly attempts?: number;
  /** Default: a minute, up to a quarter of an hour. */
  readonly hostDownTimes?: HostDownTimes;
  /** Over HTTP/1.1. */
  readonly connectionsPerHost?: number;
  /** Default: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, upper or lower case, of the environment. */
  readonly proxy?: ProxySettings;
  /** Default: what NETRC names, else `~/.netrc`. */
  readonly netrcFile?: string;
  /** Authorities to trust besides the usual ones; NIX_SSL_CERT_FILE and SSL_CERT_FILE replace the usual ones. */
  readonly caFile?: string;
  readonly userAgent?: string;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly clock?: Clock;
  readonly random?: () => number;
}

export interface GetOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** First byte wanted; the answer is 206 when the server obliges, 200 with everything when it does not. */
  readonly rangeStart?: number;
  readonly signal?: AbortSignal;
  /** Statuses besides 200 and 206 that are answers, not errors. */
  readonly accept?: readonly number[];
}

export interface GetBytesOptions extends Omit<GetOptions, 'rangeStart'> {
  readonly maxBytes: number;
  /** For the body, however it trickles. */
  readonly bodyTimeoutMs?: number;
}

export interface HttpBytes {
  readonly status: number;
  readonly headers: HttpHeaders;
  /** Decoded from any Content-Encoding; empty unless the status is 200. */
  readonly bytes: Buffer;
}

/**
 * An HTTP client for hundreds of requests at once to a handful of hosts. Repeats what broke or what the server may answer
 * otherwise later, follows redirects, finds proxies and credentials, and remembers hosts that are dead, so that these cost one
 * connect timeout in all. Throws HttpErrors, `usage` for settings that cannot work, and the signal's reason on abort.
 */
export interface HttpClient extends AsyncDisposable {
  /** How this client waits and repeats, for transfers that go on where they broke. */
  readonly retries: RetryPolicy;
  readonly clock: Clock;
  /** Gives the answer as soon as its head is there. Bodies come as they are sent, Content-Encoding included. */
  get(url: string | URL, options?: GetOptions): Promise<HttpResponse>;
  /** Reads a bounded body whole, and asks anew when it breaks. */
  getBytes(url: string | URL, options: GetBytesOptions): Promise<HttpBytes>;
}

export function createHttpClient(options: HttpClientOptions = {}): HttpClient {
  return new UndiciHttpClient(options);
}

class UndiciHttpClient implements HttpClient {
  readonly retries: RetryPolicy;
  readonly clock: Clock;
  readonly #tools: ExchangeTools;
  readonly #credentials: Credentials;
  readonly #userAgent: string;

  constructor(options: HttpClientOptions) {
    const environment = options.environment ?? process.env;
    const stallTimeoutMs = options.stallTimeoutMs ?? LIMITS.httpStallTimeoutMs;
    const caFiles = chooseCaFiles(options.caFile, environment);
    let trust: ReturnType<typeof openTrust> | undefined;
    const transport = new Transport({
      connectTimeoutMs: options.connectTimeoutMs ?? LIMITS.httpConnectTimeoutMs,
      stallTimeoutMs,
      connectionsPerHost: options.connectionsPerHost ?? LIMITS.httpConnectionsPerHost,
      proxyFor: proxyChoice(options.proxy ?? proxySettingsFrom(environment)),
      secureContext: () => (trust ??= openTrust(caFiles)),
    });
    this.clock = options.clock ?? systemClock;
    this.retries = {
      ...DEFAULT_RETRY_POLICY,
      ...(options.attempts === undefined ? {} : { attempts: options.attempts }),
      ...(options.random === undefined ? {} : { random: options.random }),
    };
    const health = new HostHealth(this.clock, options.hostDownTimes);
    this.#tools = { transport, health, clock: this.clock, retries: this.retries, stallTimeoutMs };
    this.#credentials = new Credentials(chooseNetrcFile(options.netrcFile, environment));
    this.#userAgent = options.userAgent ?? 'nixferry';
  }

  async get(url: string | URL, options: GetOptions = {}): Promise<HttpResponse> {
    return this.#follow(parseHttpUrl(url), options, { isBulk: true, bodyTimeoutMs: undefined });
  }

  async getBytes(url: string | URL, options: GetBytesOptions): Promise<HttpBytes> {
    const asked = parseHttpUrl(url);
    for (let attempt = 1; ; attempt++) {
      const response = await this.#follow(asked, options, { isBulk: false, bodyTimeoutMs: options.bodyTimeoutMs });
      try {
        return await readWhole(response, options);
      } catch (error) {
        response.body.cancel();
        if (!isBrokenTransfer(error) || attempt >= this.retries.attempts) throw error;
        await this.clock.sleep(retryDelayMs(this.retries, attempt), options.signal);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tools.transport.close();
  }

  async #follow(asked: URL, options: GetOptions, kind: RequestKind): Promise<HttpResponse> {
    let target = asked;
    for (let redirects = 0; redirects <= LIMITS.httpRedirects; redirects++) {
      const authorization = await this.#credentials.authorization({ asked, target });
      const headers = this.#headers(options, target.origin === asked.origin, authorization);
      const request = { url: target, headers, signal: options.signal, ...kind };
      const response = await exchange(request, this.#tools);
      const next = redirectTarget(response);
      if (next === undefined) {
        if (isAnswer(response.status, options)) return response;
        response.body.drain();
        throw statusError(response, authorization !== undefined);
      }
      response.body.drain();
      target = next;
    }
    throw new HttpError('redirect', asked, `redirects more than ${LIMITS.httpRedirects} times`, {
      hint: 'check the address',
    });
  }

  #headers(options: GetOptions, isSameOrigin: boolean, authorization: string | undefined): Record<string, string> {
    const headers: Record<string, string> = { 'user-agent': this.#userAgent, 'accept-encoding': 'identity' };
    for (const [name, value] of Object.entries(options.headers ?? {})) {
      if (isSameOrigin || !SECRET_HEADERS.has(name.toLowerCase())) headers[name.toLowerCase()] = value;
    }
    if (authorization !== undefined) headers['authorization'] = authorization;
    if (options.rangeStart !== undefined && options.rangeStart > 0) headers['range'] = `bytes=${options.rangeStart}-`;
    return headers;
  }
}

interface RequestKind {
  readonly isBulk: boolean;
  readonly bodyTimeoutMs: number | undefined;
}

const SECRET_HEADERS: ReadonlySet<string> = new Set(['authorization', 'cookie', 'proxy-authorization']);

function parseHttpUrl(url: string | URL): URL {
  const parsed = URL.parse(String(url));
  if (parsed === null || (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')) {
    throw new HttpError('refused', String(url), 'not an http or https address');
  }
  return parsed;
}

function isAnswer(status: number, options: GetOptions): boolean {
  if (status === 200 || options.accept?.includes(status) === true) return true;
  return status === 206 && options.rangeStart !== undefined && options.rangeStart > 0;
}

async function readWhole(response: HttpResponse, options: GetBytesOptions): Promise<HttpBytes> {
  const { status, headers, body, url } = response;
  if (status !== 200) {
    body.drain();
    return { status, headers, bytes: Buffer.alloc(0) };
  }
  const { maxBytes, signal } = options;
  const tooLarge = (): HttpError => new HttpError('too-large', url, `larger than ${maxBytes} bytes`);
  if (Number(headers['content-length'] ?? 0) > maxBytes) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of decodeContent(body, headers['content-encoding'], url, { maxBytes, signal })) {
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return { status, headers, bytes: Buffer.concat(chunks, sizeBytes) };
}
