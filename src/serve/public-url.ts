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

const PLAIN = /^https?:\/\/[A-Za-z0-9._~%:/[\]+,=@-]+$/;
const HOST = /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?$/;
