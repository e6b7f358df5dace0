import type { Socket } from 'node:net';
import type { SecureContext } from 'node:tls';
import { buildConnector, type Dispatcher, Pool } from 'undici';
import { LIMITS } from '../limits.ts';
import { type ProxyChoice, proxyAuthorization } from './proxy-choice.ts';
import { openTunnel } from './proxy-tunnel.ts';

export interface TransportOptions {
  readonly connectTimeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly connectionsPerHost: number;
  readonly proxyFor: ProxyChoice;
  /** Made once, and only when the first TLS connection is: reading hundreds of certificates takes a while. */
  readonly secureContext: () => Promise<SecureContext>;
}

export interface TransportRequest {
  readonly headers: Readonly<Record<string, string>>;
  /** Large bodies go over connections of their own: many at once over one HTTP/2 connection hold each other up. */
  readonly isBulk: boolean;
  readonly signal: AbortSignal;
}

/** One exchange with one host, over pools of kept connections: no redirects, no retries, no judgement of the status. */
export class Transport {
  readonly #options: TransportOptions;
  readonly #pools = new Map<string, Pool>();
  /** What each TLS host chose when it was last connected to with both protocols on offer. */
  readonly #protocols = new Map<string, 'h2' | 'http/1.1'>();
  readonly #connectors: { readonly h1: buildConnector.connector; readonly h2: buildConnector.connector };

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#connectors = { h1: this.#connector(false), h2: this.#connector(true) };
  }

  async get(url: URL, request: TransportRequest): Promise<Dispatcher.ResponseData> {
    const proxy = url.protocol === 'http:' ? this.#options.proxyFor(url) : undefined;
    const options = { method: 'GET' as const, signal: request.signal };
    if (proxy === undefined) {
      const path = `${url.pathname}${url.search}`;
      return this.#pool(url, request.isBulk).request({ ...options, path, headers: request.headers });
    }
    // A plain request through a proxy is made to the proxy, with the whole address for a path (RFC 9112, 3.2.2).
    const authorization = proxyAuthorization(proxy);
    const headers = {
      ...request.headers,
      host: url.host,
      ...(authorization === undefined ? {} : { 'proxy-authorization': authorization }),
    };
    const path = `${url.origin}${url.pathname}${url.search}`;
    return this.#pool(proxy, true).request({ ...options, path, headers });
  }

  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }

  /**
   * A TLS host is offered both protocols on first contact. If it takes HTTP/2, many small requests share a connection;
   * if not, they must not, for over HTTP/1.1 sharing would mean waiting for each other.
   */
  #pool(url: URL, isBulk: boolean): Pool {
    const known = this.#protocols.get(url.origin);
    const offersH2 = url.protocol === 'https:' && known !== 'http/1.1' && !(isBulk && known === 'h2');
    const key = `${offersH2 ? 'h2' : 'h1'} ${url.origin}`;
    const existing = this.#pools.get(key);
    if (existing !== undefined) return existing;
    const pool = new Pool(url.origin, {
      headersTimeout: this.#options.stallTimeoutMs,
      // GuardedBody watches bodies more closely; this frees the connection when nobody reads the body any more.
      bodyTimeout: this.#options.stallTimeoutMs * 2,
      connections: offersH2 ? LIMITS.http2ConnectionsPerHost : this.#options.connectionsPerHost,
      pipelining: offersH2 ? LIMITS.httpStreamsPerConnection : 1,
      allowH2: offersH2,
      initialWindowSize: LIMITS.http2WindowBytes / 4,
      connectionWindowSize: LIMITS.http2WindowBytes,
      connect: offersH2 ? this.#connectors.h2 : this.#connectors.h1,
    });
    this.#pools.set(key, pool);
    return pool;
  }

  #connector(offersH2: boolean): buildConnector.connector {
    const common = {
      timeout: this.#options.connectTimeoutMs,
      autoSelectFamily: true,
      // Node's 250 ms would give up every address but the last over a satellite.
      autoSelectFamilyAttemptTimeout: 1500,
    };
    const plain = buildConnector(common);
    let secure: Promise<buildConnector.connector> | undefined;
    return (target, settle) => {
      if (target.protocol !== 'https:') {
        plain(target, settle);
        return;
      }
      secure ??= this.#options
        .secureContext()
        .then((secureContext) => buildConnector({ ...common, secureContext, allowH2: offersH2 }));
      this.#connectSecurely(secure, target, offersH2).then(
        (socket) => settle(null, socket),
        (error: unknown) => settle(error instanceof Error ? error : new Error(String(error)), null),
      );
    };
  }

  async #connectSecurely(
    connector: Promise<buildConnector.connector>,
    target: buildConnector.Options,
    offersH2: boolean,
  ): Promise<Socket> {
    const connect = await connector;
    const httpSocket = await this.#tunnel(target);
    const socket = await new Promise<Socket>((resolve, reject) => {
      connect(httpSocket === undefined ? target : { ...target, httpSocket }, (error, connected) => {
        if (error === null) resolve(connected);
        else reject(error);
      });
    });
    if (offersH2) this.#learnProtocol(target, socket);
    return socket;
  }

  #learnProtocol(target: buildConnector.Options, socket: object): void {
    const isH2 = 'alpnProtocol' in socket && socket.alpnProtocol === 'h2';
    this.#protocols.set(targetUrl(target).origin, isH2 ? 'h2' : 'http/1.1');
  }

  async #tunnel(target: buildConnector.Options): Promise<Awaited<ReturnType<typeof openTunnel>> | undefined> {
    const url = targetUrl(target);
    const proxy = this.#options.proxyFor(url);
    if (proxy === undefined) return undefined;
    const port = Number(url.port || 443);
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const timeoutMs = this.#options.connectTimeoutMs;
    const secureContext = proxy.protocol === 'https:' ? await this.#options.secureContext() : undefined;
    return openTunnel(proxy, { host, port }, { timeoutMs, secureContext });
  }
}

function targetUrl(target: buildConnector.Options): URL {
  const host = target.hostname.includes(':') ? `[${target.hostname}]` : target.hostname;
  return new URL(`https://${host}${target.port === '' ? '' : `:${target.port}`}`);
}
