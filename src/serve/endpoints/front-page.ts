import type { FastifyInstance, FastifyRequest } from 'fastify';
import { readMirrorPublicKey } from '../../mirror/keys.ts';
import { formatPublicKey } from '../../nix/signature.ts';
import { formatClientConfig } from '../../site/client-config.ts';
import { CACHE_NEVER } from '../send.ts';
import type { ServeContext } from '../serve-context.ts';

/** `/`: for people: what this is, and what to paste on a client. HTML for browsers, the same as text for curl. */
export function routeFrontPage(app: FastifyInstance, context: ServeContext): void {
  app.route({
    method: ['GET', 'HEAD'],
    url: '/',
    handler: async (request, reply) => {
      const page = await makePage(request, context);
      const html = request.headers.accept?.includes('text/html') === true;
      return reply
        .header('content-type', html ? 'text/html; charset=utf-8' : 'text/plain; charset=utf-8')
        .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
        .header('vary', 'accept, host')
        .header('cache-control', CACHE_NEVER)
        .send(html ? formatHtml(page) : formatText(page));
    },
  });
}

interface Page {
  readonly url: string;
  readonly storeDir: string;
  readonly publicKey: string | undefined;
  readonly config: string | undefined;
}

async function makePage(request: FastifyRequest, context: ServeContext): Promise<Page> {
  const key = await readMirrorPublicKey({ directory: context.directory });
  const publicKey = key === undefined ? undefined : formatPublicKey(key);
  const url = ownUrl(request);
  const config =
    publicKey === undefined ? undefined : formatClientConfig({ format: 'nix-conf', url, publicKeys: [publicKey] });
  return { url, storeDir: context.storeDir, publicKey, config };
}

/** The address by which the client reached us; what it says of it is only repeated when it is a plain host and port. */
function ownUrl(request: FastifyRequest): string {
  const { host } = request.headers;
  if (host !== undefined && PLAIN_HOST.test(host)) return `http://${host}`;
  const { localAddress = 'localhost', localPort } = request.socket;
  const address = localAddress.includes(':') ? `[${localAddress}]` : localAddress;
  return localPort === undefined ? `http://${address}` : `http://${address}:${localPort}`;
}

const PLAIN_HOST =
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?(?:\.[A-Za-z0-9-]{1,63}){0,20}|\[[0-9A-Fa-f:]{2,45}\])(?::\d{1,5})?$/;

const WHAT = [
  'This is a Nix binary cache, served by Nixferry. Nix on this network fetches software from here instead of from the internet.',
  'Whatever is not here is answered with 404 at once; nothing is fetched from elsewhere.',
];
const NO_KEY = 'This mirror has no key of its own yet: clients must trust the keys of those who signed what it holds.';

function formatText({ url, storeDir, publicKey, config }: Page): string {
  const lines = ['Nixferry', '', ...WHAT, '', `address: ${url}`, `store:   ${storeDir}`];
  if (publicKey !== undefined) lines.push(`key:     ${publicKey}`);
  lines.push('', config === undefined ? NO_KEY : `For /etc/nix/nix.conf on a client:\n\n${config.trimEnd()}`);
  return `${lines.join('\n')}\n`;
}

function formatHtml({ url, storeDir, publicKey, config }: Page): string {
  const key = publicKey === undefined ? '' : `<dt>Public key</dt><dd><code>${escapeHtml(publicKey)}</code></dd>`;
  const how =
    config === undefined
      ? `<p>${NO_KEY}</p>`
      : `<p>For <code>/etc/nix/nix.conf</code> on a client:</p><pre>${escapeHtml(config)}</pre>`;
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Nixferry</title>
<style>body{font:1rem/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}pre,dd{overflow:auto}dt{font-weight:bold}</style>
<h1>Nixferry</h1>
${WHAT.map((text) => `<p>${text}</p>`).join('\n')}
<dl><dt>Address</dt><dd><code>${escapeHtml(url)}</code></dd><dt>Store</dt><dd><code>${escapeHtml(storeDir)}</code></dd>${key}</dl>
${how}
</html>
`;
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
