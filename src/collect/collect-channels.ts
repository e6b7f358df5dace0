import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import type { HttpClient } from '../base/http-client.ts';
import type { OnProgress } from '../base/progress.ts';
import { showChannel } from '../mirror/channels.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { composeNar } from '../mirror/nar-compose.ts';
import { withIntakenNar } from '../mirror/nar-intake.ts';
import { publish } from '../mirror/publish.ts';
import { type RootChannel, type RootRecord, writeRoot } from '../mirror/roots.ts';
import { baseNameOf, formatContentAddress, hashBytes, hashDigest, makeSourcePath, writeNar } from '../nix/index.ts';
import { SpooledTree } from '../sources/spooled-tree.ts';
import { parseChannel } from '../upstream/channel.ts';
import {
  CHANNEL_EXPRESSIONS,
  CHANNEL_FILES,
  type ChannelRelease,
  findChannelRelease,
} from '../upstream/channel-release.ts';
import { readStorePathsList } from '../upstream/store-paths-list.ts';

export interface CollectChannelsInputs {
  readonly mirror: Mirror;
  readonly http: HttpClient;
  readonly channelsBase: string;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

/**
 * Takes the files of each root's channel along: Nix expressions, revision, lists. They become a store path, so that they are verified, sent only once,
 * and kept as everything else is. A channel without expressions is a list of paths and nothing more. Resolves to the records as they are now.
 * Throws HttpError, `no-space`; `upstream-incomplete` when the channel has moved on since its list was read.
 */
export async function collectChannels(
  records: readonly RootRecord[],
  inputs: CollectChannelsInputs,
): Promise<RootRecord[]> {
  const now: RootRecord[] = [];
  for (const record of records) {
    const name = channelOf(record);
    const channel = name === undefined ? undefined : await collectRelease(name, record, inputs);
    const changed = channel === undefined ? record : withChannel(record, channel);
    if (channel !== undefined) await writeRoot(inputs.mirror, changed);
    await showChannel(inputs.mirror, changed, inputs.signal);
    now.push(changed);
  }
  return now;
}

function channelOf({ request }: RootRecord): string | undefined {
  return parseChannel(request);
}

function withChannel(record: RootRecord, channel: RootChannel): RootRecord {
  return { ...record, paths: [...new Set([...record.paths, channel.path])].toSorted(), channel };
}

async function collectRelease(
  name: string,
  record: RootRecord,
  { mirror, http, channelsBase, onProgress, signal }: CollectChannelsInputs,
): Promise<RootChannel | undefined> {
  onProgress({ type: 'phase', phase: `fetching the files of channel:${name}` });
  const found = await findChannelRelease(name, { http, channelsBase, signal });
  const expressions = await found.read(CHANNEL_EXPRESSIONS);
  if (expressions === undefined) {
    const message = `channel:${name} has no ${CHANNEL_EXPRESSIONS}: its packages are carried, but nix-channel cannot use it`;
    onProgress({ type: 'notice', message });
    return undefined;
  }
  await checkList(found, record, mirror, http);
  const digest = hashDigest(hashBytes('sha256', expressions)).toString('hex').slice(0, 12);
  const release = found.release ?? `${name}-${digest}`;
  const file = join(mirror.layout.tempFolder, `channel-${randomBytes(12).toString('hex')}`);
  await using tree = await SpooledTree.open(file);
  for (const fileName of CHANNEL_FILES) {
    const bytes = fileName === CHANNEL_EXPRESSIONS ? expressions : await found.read(fileName);
    if (bytes !== undefined) await tree.addFile(Buffer.from(fileName), false, asChunks(bytes));
  }
  return { name, release, path: await publishRelease(release, tree, mirror, signal) };
}

/** The packages that were collected must be those of the release whose expressions are taken along. */
async function checkList(found: ChannelRelease, record: RootRecord, mirror: Mirror, http: HttpClient): Promise<void> {
  const list = await found.read('store-paths.xz');
  const { storeDir } = mirror;
  const paths = list === undefined ? [] : await Array.fromAsync(readStorePathsList(asChunks(list), { http, storeDir }));
  const collected = new Set<string>(record.rootPaths);
  if (new Set(paths).size === collected.size && paths.every((path) => collected.has(baseNameOf(path)))) return;
  throw new NixferryError('upstream-incomplete', `channel:${found.name} moved on while it was being collected`, {
    hint: `what was fetched is kept; type it again: nixferry collect channel:${found.name}`,
  });
}

async function publishRelease(
  release: string,
  tree: SpooledTree,
  mirror: Mirror,
  signal: AbortSignal,
): Promise<RootChannel['path']> {
  // What is inside is compressed already.
  const nar = await composeNar({ mirror, nar: writeNar(tree.whole()), level: 1, signal });
  const { url, compression, narHash, narSizeBytes } = nar;
  const storePath = makeSourcePath(release, narHash, mirror.storeDir);
  const contentAddress = formatContentAddress({ method: 'nar', hash: narHash });
  const described = {
    storePath,
    url,
    compression,
    narHash,
    narSizeBytes,
    references: [],
    signatures: [],
    contentAddress,
  };
  const { refused } = await publish(mirror, [{ info: withIntakenNar(described, nar), narFile: nar.file }], { signal });
  const [problem] = refused;
  if (problem !== undefined) throw new NixferryError('damage', `${problem.path}: ${problem.reason}`);
  return baseNameOf(storePath);
}

async function* asChunks(bytes: Buffer): AsyncGenerator<Buffer, void, undefined> {
  yield bytes;
}
