import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { asCompression } from '../base/compression/compression.ts';
import { decompressStream } from '../base/compression/decompress-stream.ts';
import { explainWriteError } from '../base/errors.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { isLaterShipment } from './later-shipment.ts';
import type { Mirror } from './mirror.ts';
import { narTopFiles } from './nar-top-files.ts';
import type { RootChannel, RootRecord, RootShipment } from './roots.ts';

/**
 * Channels as `nix-channel` wants them: `channels/NAME/RELEASE/FILE`, and `channels/NAME/release.json` that says which release counts now. A release travels as a
 * store path that holds its files; the folder is unpacked from it, file by file, and switched to when all of it is there.
 */
export const CHANNELS_PREFIX = 'channels/';
const POINTER_NAME = 'release.json';

/** Which release of a channel counts. */
export interface ChannelPointer {
  readonly format: 1;
  readonly release: string;
  /** The shipment that brought it; absent where it was collected. */
  readonly shipment?: RootShipment;
}

export function channelFileName(channel: string, release: string, file: string): string {
  return `${CHANNELS_PREFIX}${channel}/${release}/${file}`;
}

export function channelPointerName(channel: string): string {
  return `${CHANNELS_PREFIX}${channel}/${POINTER_NAME}`;
}

/** Undefined for anything but a pointer of a format that is known here. */
export function parseChannelPointer(bytes: Uint8Array): ChannelPointer | undefined {
  try {
    return pointer.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch {
    return undefined;
  }
}

/**
 * Puts the release of a channel root in its place, and lets the channel lead to it, unless the root is not complete, or a later shipment of
 * the same sender has said otherwise. Other releases stay. Throws `damage` when the path is not what it should be, `no-space`.
 */
export async function showChannel(mirror: Mirror, record: RootRecord, signal?: AbortSignal): Promise<void> {
  const { channel, complete, shipment } = record;
  if (channel === undefined || !complete) return;
  await unpackRelease(mirror, channel, signal);
  const name = channelPointerName(channel.name);
  const known = await mirror.storage.read(name);
  const current = known === undefined ? undefined : parseChannelPointer(known);
  if (current !== undefined && (current.release === channel.release || isLaterShipment(current.shipment, shipment)))
    return;
  const next: ChannelPointer = {
    format: 1,
    release: channel.release,
    ...(shipment === undefined ? {} : { shipment }),
  };
  await mirror.storage.write(name, `${JSON.stringify(next)}\n`);
}

/** The folder is whole when it has the file that is put there last. */
async function unpackRelease(mirror: Mirror, channel: RootChannel, signal: AbortSignal | undefined): Promise<void> {
  const { storage, layout } = mirror;
  const last = channelFileName(channel.name, channel.release, LAST_FILE);
  if ((await storage.stat(last)) !== undefined) return;
  const info = await mirror.readNarInfo(hashPartOf(channel.path));
  const compression = info === undefined ? undefined : asCompression(info.compression);
  const nar = info === undefined ? undefined : await storage.open(info.url);
  if (info === undefined || compression === undefined || nar === undefined) {
    throw new Error(`${channel.path} of a complete root is not in the mirror`);
  }
  const place = join(layout.tempFolder, `channel-${randomBytes(12).toString('hex')}`);
  const files = new Map<string, string>();
  try {
    const bytes = decompressStream(compression, nar.stream, { maxBytes: info.narSizeBytes, signal });
    for await (const [name, contents] of narTopFiles(bytes)) {
      if (!FILE_NAME.test(name)) continue;
      const file = `${place}-${files.size}`;
      files.set(name, file);
      await using handle = await open(file, 'wx');
      for await (const chunk of contents) await handle.writeFile(chunk);
    }
    const order = [...files].toSorted(([a], [b]) => Number(a === LAST_FILE) - Number(b === LAST_FILE));
    for (const [name, file] of order) {
      await storage.adopt(file, channelFileName(channel.name, channel.release, name));
    }
  } catch (error) {
    throw explainWriteError(error, place);
  } finally {
    for (const file of files.values()) await rm(file, { force: true });
  }
}

const LAST_FILE = 'nixexprs.tar.xz';
const FILE_NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,150}$/;

const pointer = z.object({
  format: z.literal(1),
  release: z.string().regex(FILE_NAME),
  shipment: z.object({ sender: z.string(), site: z.string(), sequence: z.number().int() }).exactOptional(),
});
