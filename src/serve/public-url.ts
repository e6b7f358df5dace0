import type { FastifyRequest } from 'fastify';
import { NixferryError } from '../base/errors.ts';

/** The address as it is put in front of names, without a slash at the end. Throws `usage` for what no client could reach. */
export function checkPublicUrl(text: string): string {
  const url = URL.parse(text);
  const isPlain = url !== null && url.search === '' && url.hash === '' && url.username === '' && url.password === '';
  if (isPlain && ['http:', 'https:'].includes(url.protocol) && PLAIN.test(text)) return url.href.replace(/\/+$/, '');
  throw new NixferryError('usage', `${JSON.stringify(text)} cannot be the address of a server`, {
    hint: 'write it as clients reach it, such as https://ferry.lan or http://ferry:8080/nix',
  });
}

/** The address that this client reaches us by; undefined when neither it nor anybody else has said. */
export function publicUrlFor(request: FastifyRequest, publicUrl: string | undefined): string | undefined {
  if (publicUrl !== undefined) return publicUrl;
  const { host } = request.headers;
  return host !== undefined && HOST.test(host) ? `http://${host}` : undefined;
}

/**
 * The same for texts that a client is to keep: where it has not said, or has said what could be taken for more than a name, the address that
 * its connection came in by. Always one that `formatClientConfig` takes.
 */
export function reachedUrl(request: FastifyRequest, publicUrl: string | undefined): string {
  const said = publicUrlFor(request, publicUrl);
  // A host of digits and dots that is no address, or a port that is none.
  if (said !== undefined && URL.parse(said) !== null) return said;
  const { localAddress = 'localhost', localPort } = request.socket;
  const address = localAddress.includes(':') ? `[${localAddress}]` : localAddress;
  return localPort === undefined ? `http://${address}` : `http://${address}:${localPort}`;
}

const PLAIN = /^https?:\/\/[A-Za-z0-9._~%:/[\]+,=@-]+$/;
const HOST =
  /^(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63}){0,20}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?$/;
