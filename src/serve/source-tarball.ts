import { TAR_END, type TarEntry, tarHeader, tarPadding } from '../base/tar-entry.ts';
import { type NarEvent, type NarPath, readNar } from '../nix/index.ts';

/**
 * A tar archive of what a NAR holds, in one top folder, as Nix unpacks it to the very same tree: executable bits and links are kept, and every entry, the
 * folder included, was modified at the same time, which Nix then takes for that of the whole.
 * @param modifiedSeconds since 1970
 * @param folder of the tree that is wanted alone
 * @throws NixFormatError when this is no NAR; an Error when it holds no folder.
 */
export async function* sourceTarball(
  nar: AsyncIterable<Uint8Array>,
  modifiedSeconds: number,
  folder?: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  let sizeBytes = 0;
  const events = readNar(nar);
  for await (const event of folder === undefined ? events : inFolder(events, folder)) {
    switch (event.type) {
      case 'directory':
        yield header(event.path, { type: 'directory', mode: 0o755, sizeBytes: 0, modifiedSeconds });
        break;
      case 'regular':
        if (event.path.length === 0) throw new Error('a source that is a single file is no folder for a tarball');
        sizeBytes = event.sizeBytes;
        yield header(event.path, { type: 'file', mode: event.executable ? 0o755 : 0o644, sizeBytes, modifiedSeconds });
        break;
      case 'contents':
        // The view may be reused by its owner.
        yield Buffer.from(event.chunk);
        break;
      case 'endRegular':
        yield tarPadding(sizeBytes);
        break;
      case 'symlink': {
        const { path, target } = event;
        yield header(path, { type: 'symlink', mode: 0o777, sizeBytes: 0, modifiedSeconds, target });
        break;
      }
      case 'endDirectory':
        break;
    }
  }
  yield TAR_END;
}

/** What is below one folder of the top, as if that were the top. */
async function* inFolder(events: AsyncIterable<NarEvent>, folder: string): AsyncGenerator<NarEvent, void, undefined> {
  let isInside = false;
  for await (const event of events) {
    if ('path' in event) {
      isInside = event.path[0]?.toString('latin1') === folder;
      if (isInside) yield { ...event, path: event.path.slice(1) };
    } else if (isInside) yield event;
  }
}

const TOP = Buffer.from('source');
const SLASH = Buffer.from('/');

function header(path: NarPath, entry: Omit<TarEntry, 'name'>): Buffer {
  const parts = [TOP, ...path.flatMap((name) => [SLASH, name])];
  const name = Buffer.concat(entry.type === 'directory' ? [...parts, SLASH] : parts);
  return tarHeader({ ...entry, name });
}
