import type { Mirror } from '../mirror/mirror.ts';
import { readRoots } from '../mirror/roots.ts';
import { hashPartOf } from '../nix/index.ts';
import { parseChannel } from '../upstream/channel.ts';
import { CHANNEL_EXPRESSIONS, CHANNEL_FILES, type ChannelRelease } from '../upstream/channel-release.ts';
import type { ResolvedRoot } from './resolve-roots.ts';

/** What a channel brings besides its paths: Nix expressions, lists, and what else is carried of its release. */
export interface PlannedChannel {
  readonly name: string;
  /** Undefined where the channel does not say. */
  readonly release: string | undefined;
  readonly files: number;
  readonly sizeBytes: number;
  /** Whether the mirror has this release already. */
  readonly isHere: boolean;
}

export interface PlanChannelsInputs {
  readonly roots: readonly Pick<ResolvedRoot, 'request'>[];
  readonly mirror: Mirror | undefined;
  readonly findChannel?: ((name: string) => Promise<ChannelRelease>) | undefined;
}

/** Asks for the sizes of what `collectChannels` will fetch. Throws HttpError when nobody answers. */
export async function planChannels({ roots, mirror, findChannel }: PlanChannelsInputs): Promise<PlannedChannel[]> {
  const planned: PlannedChannel[] = [];
  for (const { request } of roots) {
    const name = parseChannel(request);
    if (name === undefined || findChannel === undefined) continue;
    const found = await findChannel(name);
    const sizes = await Promise.all(CHANNEL_FILES.map((file) => found.sizeBytes(file)));
    // A channel without expressions is a list of paths and nothing more.
    if (sizes[CHANNEL_FILES.indexOf(CHANNEL_EXPRESSIONS)] === undefined) continue;
    const known = sizes.filter((size) => size !== undefined);
    planned.push({
      name,
      release: found.release,
      files: known.length,
      sizeBytes: known.reduce((sum, size) => sum + size, 0),
      isHere: await hasRelease(mirror, found),
    });
  }
  return planned;
}

async function hasRelease(mirror: Mirror | undefined, { name, release }: ChannelRelease): Promise<boolean> {
  if (mirror === undefined || release === undefined) return false;
  for (const { channel } of await readRoots(mirror)) {
    if (channel?.name === name && channel.release === release) return mirror.hasPath(hashPartOf(channel.path));
  }
  return false;
}
