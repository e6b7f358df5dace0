/** Without what belongs to Nix alone, such as `?priority=10`. Undefined for what is no address. */
export function cacheUrl(address: string): URL | undefined {
  const url = URL.parse(address.startsWith('/') ? `file://${address}` : address);
  if (url === null) return undefined;
  url.search = '';
  return url;
}

export function below(url: URL, name: string): URL {
  const base = new URL(url);
  base.pathname = `${base.pathname.replace(/\/+$/, '')}/${name}`;
  return base;
}
