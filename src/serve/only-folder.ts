import { createHash } from 'node:crypto';
import { type Hash, hashFromDigest, readNar } from '../nix/index.ts';
import { narString } from '../nix/nar-format.ts';

/** The folder that is all there is in a tree, and what it would be as a tree of its own. */
export interface OnlyFolder {
  readonly name: string;
  readonly narHash: Hash;
}

/**
 * What nix-channel unpacks has the Nix expressions in a folder of their own, named like the channel: finds this folder. Undefined where the tree holds
 * anything beside it, or it holds no default.nix, which is known after a few bytes as a rule; `no-folder` where it is a single file.
 * @param open gives the NAR of the tree from its beginning; called twice.
 * @throws NixFormatError when this is no NAR, and what `open` throws.
 */
export async function findOnlyFolder(
  open: () => AsyncIterable<Uint8Array>,
  narSizeBytes: number,
): Promise<OnlyFolder | 'no-folder' | undefined> {
  const name = await nameOfOnlyFolder(open());
  if (name === undefined || name === 'no-folder') return name;
  const hash = createHash('sha256').update(narString(MAGIC));
  const start = beforeNode(name).length;
  const end = narSizeBytes - AFTER_NODE.length;
  let position = 0;
  for await (const chunk of open()) {
    hash.update(chunk.subarray(Math.max(0, start - position), Math.max(0, end - position)));
    position += chunk.length;
  }
  return { name: name.toString('latin1'), narHash: hashFromDigest('sha256', hash.digest()) };
}

async function nameOfOnlyFolder(nar: AsyncIterable<Uint8Array>): Promise<Buffer | 'no-folder' | undefined> {
  let name: Buffer | undefined;
  let hasExpression = false;
  for await (const event of readNar(nar)) {
    if (event.type === 'contents' || event.type === 'endRegular' || event.type === 'endDirectory') continue;
    const { path, type } = event;
    if (path.length === 0 && type !== 'directory') return 'no-folder';
    if (path.length === 1) {
      const [only] = path;
      if (name !== undefined || type !== 'directory' || !FOLDER_NAME.test(only?.toString('latin1') ?? ''))
        return undefined;
      name = only;
    }
    hasExpression ||= path.length === 2 && type === 'regular' && path[1]?.toString('latin1') === 'default.nix';
  }
  return hasExpression ? name : undefined;
}

/** What can stand in an address as it is. */
export const FOLDER_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._+-]{0,150}$/;

const MAGIC = 'nix-archive-1';
/** The NAR of a folder with one entry up to where that entry's node begins, and what follows the node. */
const beforeNode = (name: Buffer): Buffer =>
  Buffer.concat(
    [MAGIC, '(', 'type', 'directory', 'entry', '(', 'name', name.toString('latin1'), 'node'].map(narString),
  );
const AFTER_NODE = Buffer.concat([narString(')'), narString(')')]);
