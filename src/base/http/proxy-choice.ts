import { BlockList, isIP } from 'node:net';
import { NixferryError } from '../errors.ts';
import { showUrl } from './shown-url.ts';

/** Addresses of proxies as the environment spells them: `http://user:password@host:port`, the scheme may be left out. */
export interface ProxySettings {
  readonly http?: string | undefined;
  readonly https?: string | undefined;
  /** Hosts that are reached directly, separated by commas or blanks. */
  readonly noProxy?: string | undefined;
}

/** The proxy for a URL, or undefined for a direct connection. */
export type ProxyChoice = (target: URL) => URL | undefined;

/** Reads HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; the lower-case spelling wins, as with curl. */
export function proxySettingsFrom(environment: Readonly<Record<string, string | undefined>>): ProxySettings {
  const read = (name: string): string | undefined => nonEmpty(environment[name.toLowerCase()] ?? environment[name]);
  const all = read('ALL_PROXY');
  return { http: read('HTTP_PROXY') ?? all, https: read('HTTPS_PROXY') ?? all, noProxy: read('NO_PROXY') };
}

/** Throws `usage` for a proxy address that is none, or that needs another protocol than HTTP. */
export function proxyChoice(settings: ProxySettings): ProxyChoice {
  const http = parseProxy(settings.http);
  const https = parseProxy(settings.https);
  const isExempt = exemption(settings.noProxy ?? '');
  return (target) => {
    const proxy = target.protocol === 'https:' ? https : http;
    return proxy === undefined || isExempt(target) ? undefined : proxy;
  };
}

/** The value of a Proxy-Authorization header, if the proxy's address holds a user name. */
export function proxyAuthorization(proxy: URL): string | undefined {
  if (proxy.username === '' && proxy.password === '') return undefined;
  const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}

function parseProxy(text: string | undefined): URL | undefined {
  const address = nonEmpty(text?.trim());
  if (address === undefined) return undefined;
  const proxy = URL.parse(address.includes('://') ? address : `http://${address}`);
  if (proxy === null || proxy.hostname === '' || (proxy.protocol !== 'http:' && proxy.protocol !== 'https:')) {
    throw new NixferryError('usage', `${showUrl(address)}: not the address of an HTTP proxy`, {
      hint: 'write HTTP_PROXY, HTTPS_PROXY and ALL_PROXY as http://HOST:PORT',
    });
  }
  return proxy;
}

/**
 * What NO_PROXY means differs from program to program; this is what curl and Go agree on: `*`; a name covers itself and
 * everything below it, with or without a leading dot or `*.`; `:port` narrows it; an address is taken literally or as a
 * CIDR block.
 */
function exemption(list: string): (target: URL) => boolean {
  const blocks = new BlockList();
  const names: { name: string; port: string | undefined }[] = [];
  let everything = false;
  for (const entry of list.toLowerCase().split(/[\s,]+/)) {
    if (entry === '') continue;
    if (entry === '*') everything = true;
    else if (!addBlock(blocks, entry)) names.push(parseName(entry));
  }
  return (target) => {
    if (everything) return true;
    const host = bareHost(target.hostname);
    const family = isIP(host);
    if (family !== 0 && blocks.check(host, family === 6 ? 'ipv6' : 'ipv4')) return true;
    const port = target.port === '' ? defaultPort(target) : target.port;
    return names.some(
      (entry) =>
        (entry.port === undefined || entry.port === port) && (host === entry.name || host.endsWith(`.${entry.name}`)),
    );
  };
}

function addBlock(blocks: BlockList, entry: string): boolean {
  const [address = '', bits, rest] = entry.split('/');
  const family = isIP(address);
  if (bits === undefined || rest !== undefined || family === 0 || !/^\d{1,3}$/.test(bits)) return false;
  if (Number(bits) > (family === 6 ? 128 : 32)) return false;
  blocks.addSubnet(address, Number(bits), family === 6 ? 'ipv6' : 'ipv4');
  return true;
}

function parseName(entry: string): { name: string; port: string | undefined } {
  if (isIP(entry) !== 0) return { name: entry, port: undefined };
  const match = /^(?:\*?\.)?(.*?)(?::(\d{1,5}))?$/.exec(entry);
  return { name: bareHost(match?.[1] ?? entry), port: match?.[2] };
}

function bareHost(hostname: string): string {
  const host = hostname.toLowerCase().replace(/\.$/, '');
  return host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
}

function defaultPort(target: URL): string {
  return target.protocol === 'https:' ? '443' : '80';
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}
