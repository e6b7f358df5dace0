import net from 'node:net';
import tls from 'node:tls';
import { LIMITS } from '../limits.ts';
import { HttpError } from './http-error.ts';
import { proxyAuthorization } from './proxy-choice.ts';

export interface TunnelOptions {
  /** For connecting to the proxy and for its answer, each. */
  readonly timeoutMs: number;
  /** For a proxy that is itself reached over TLS. */
  readonly secureContext?: tls.SecureContext | undefined;
}

/**
 * Asks an HTTP proxy by CONNECT for a connection to `host:port` and gives the socket once the proxy has agreed.
 * Throws HttpErrors of failure `host-down`: nobody is there, or the proxy does not, or cannot, give a connection.
 */
export async function openTunnel(
  proxy: URL,
  target: { host: string; port: number },
  options: TunnelOptions,
): Promise<net.Socket> {
  const socket = dial(proxy, options);
  try {
    await within(options.timeoutMs, proxy, socket, proxy.protocol === 'https:' ? 'secureConnect' : 'connect');
    const authority = `${target.host.includes(':') ? `[${target.host}]` : target.host}:${target.port}`;
    const authorization = proxyAuthorization(proxy);
    const credentials = authorization === undefined ? '' : `Proxy-Authorization: ${authorization}\r\n`;
    socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${credentials}\r\n`);
    const head = await readAnswerHead(socket, proxy, options.timeoutMs);
    checkAnswer(head, proxy, authority);
    return socket;
  } catch (error) {
    socket.on('error', () => {});
    socket.destroy();
    throw error;
  }
}

function dial(proxy: URL, options: TunnelOptions): net.Socket {
  const host = proxy.hostname.replace(/^\[|\]$/g, '');
  if (proxy.protocol !== 'https:') return net.connect({ host, port: Number(proxy.port || 80) });
  return tls.connect({
    host,
    port: Number(proxy.port || 443),
    ALPNProtocols: ['http/1.1'],
    ...(net.isIP(host) === 0 ? { servername: host } : {}),
    ...(options.secureContext === undefined ? {} : { secureContext: options.secureContext }),
  });
}

function within(timeoutMs: number, proxy: URL, socket: net.Socket, event: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(proxyDown(proxy, `the proxy ${proxy.host} does not answer`)), timeoutMs);
    socket.once(event, () => {
      clearTimeout(timer);
      resolve();
    });
    socket.on('error', (error) => {
      clearTimeout(timer);
      reject(proxyDown(proxy, `the proxy ${proxy.host} cannot be reached (${error.message})`, error));
    });
  });
}

/** Everything up to the blank line; bytes after it go back into the socket. */
function readAnswerHead(socket: net.Socket, proxy: URL, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    const stop = (): void => {
      clearTimeout(timer);
      socket.off('data', onData).off('close', onClose);
      socket.pause();
    };
    const fail = (what: string): void => {
      stop();
      reject(proxyDown(proxy, what));
    };
    const onClose = (): void => fail(`the proxy ${proxy.host} hung up`);
    const onData = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      const end = received.indexOf('\r\n\r\n');
      if (end === -1) {
        if (received.length > LIMITS.proxyAnswerBytes) fail(`the proxy ${proxy.host} does not speak HTTP`);
        return;
      }
      stop();
      const rest = received.subarray(end + 4);
      if (rest.length > 0) socket.unshift(rest);
      resolve(received.toString('latin1', 0, end));
    };
    const timer = setTimeout(() => fail(`the proxy ${proxy.host} does not answer`), timeoutMs);
    socket.on('data', onData).on('close', onClose);
  });
}

function checkAnswer(head: string, proxy: URL, authority: string): void {
  const status = Number(/^HTTP\/1\.[01] (\d{3})\b/.exec(head)?.[1] ?? Number.NaN);
  if (status >= 200 && status < 300) return;
  if (status === 407) {
    throw new HttpError('host-down', proxy, `the proxy ${proxy.host} wants a user name and password (407)`, {
      hint: 'write them into HTTPS_PROXY as http://USER:PASSWORD@HOST:PORT',
      status,
    });
  }
  if (Number.isNaN(status)) throw proxyDown(proxy, `the proxy ${proxy.host} does not speak HTTP`);
  throw new HttpError('host-down', proxy, `the proxy gives no connection to ${authority} (status ${status})`, {
    hint: 'check the address, or name the host in NO_PROXY to reach it directly',
    status,
  });
}

function proxyDown(proxy: URL, what: string, cause?: unknown): HttpError {
  return new HttpError('host-down', proxy, what, {
    hint: 'check HTTP_PROXY, HTTPS_PROXY and NO_PROXY',
    ...(cause === undefined ? {} : { cause }),
  });
}
