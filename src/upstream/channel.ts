import { NixferryError } from '../base/errors.ts';

export const DEFAULT_CHANNELS_BASE = 'https://channels.nixos.org';

/** The name in `channel:NAME`, or undefined when `text` is something else. Throws `bad-root` for a name that is none. */
export function parseChannel(text: string): string | undefined {
  if (!text.startsWith('channel:')) return undefined;
  const name = text.slice('channel:'.length);
  if (/^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$/.test(name)) return name;
  throw new NixferryError('bad-root', `${JSON.stringify(text.slice(0, 120))}: not the name of a channel`, {
    hint: 'write it as channel:nixos-26.05',
  });
}

/** Where the list of a channel's store paths is. `base` is a folder: what stands after its last slash counts, too. */
export function channelStorePathsUrl(name: string, base: string = DEFAULT_CHANNELS_BASE): string {
  return `${base.replace(/\/+$/, '')}/${name}/store-paths.xz`;
}
