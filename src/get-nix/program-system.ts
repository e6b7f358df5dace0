import { posix } from 'node:path';
import { NixferryError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { NixFormatError, parseStorePath, readNar, type StorePath, storeDirOf } from '../nix/index.ts';

/** The bytes of a path's NAR, unpacked; undefined when it cannot be had. Read only as far as needed. */
export type NarOpener = (path: StorePath) => Promise<AsyncIterable<Uint8Array> | undefined>;

/**
 * The kind of machine that `bin/nix` of a store path is made for, read from the head of the program itself: names of paths do not tell, and lists
 * hold those of several kinds. Links are followed from path to path. Undefined where there is no such program.
 */
export async function systemOfNix(path: StorePath, open: NarOpener): Promise<string | undefined> {
  let place: Place | undefined = { path, inside: 'bin/nix' };
  for (let hops = 0; place !== undefined && hops < LIMITS.programLinkHops; hops += 1) {
    const nar = await open(place.path);
    const found: Buffer | Place | undefined = nar === undefined ? undefined : await lookUp(place, nar);
    if (Buffer.isBuffer(found)) return systemOfProgram(found);
    place = found;
  }
  return undefined;
}

/** What Nix calls the machine that an ELF file is for; undefined for something else. Source: the ELF header, e_machine. */
export function systemOfProgram(head: Uint8Array): string | undefined {
  if (head.length < HEAD_BYTES || !Buffer.from(head.subarray(0, 4)).equals(ELF_MAGIC)) return undefined;
  return MACHINES.get(Buffer.from(head).readUInt16LE(18));
}

interface Place {
  readonly path: StorePath;
  /** `bin/nix` */
  readonly inside: string;
}

const HEAD_BYTES = 20;
const ELF_MAGIC = Buffer.from('\x7fELF', 'latin1');
const MACHINES: ReadonlyMap<number, string> = new Map([
  [3, 'i686-linux'],
  [62, 'x86_64-linux'],
  [183, 'aarch64-linux'],
  [243, 'riscv64-linux'],
]);

/** The head of the file at that place, or the place that a link leads to. */
async function lookUp({ path, inside }: Place, nar: AsyncIterable<Uint8Array>): Promise<Buffer | Place | undefined> {
  let isWanted = false;
  let head = Buffer.alloc(0);
  for await (const event of readNar(nar)) {
    if (event.type === 'symlink') {
      const link = event.path.map(String).join('/');
      if (link === inside || inside.startsWith(`${link}/`)) {
        const target = posix.resolve(
          path,
          posix.dirname(link),
          event.target.toString(),
          `./${inside.slice(link.length)}`,
        );
        return placeOf(target, storeDirOf(path));
      }
    } else if (event.type === 'regular') {
      isWanted = event.path.map(String).join('/') === inside;
    } else if (event.type === 'contents' && isWanted) {
      head = Buffer.concat([head, event.chunk.subarray(0, HEAD_BYTES)]);
      if (head.length >= HEAD_BYTES) return head;
    } else if (event.type === 'endRegular' && isWanted) {
      return head;
    }
  }
  return undefined;
}

function placeOf(target: string, storeDir: string): Place | undefined {
  const [name = '', ...rest] = posix.relative(storeDir, target).split('/');
  try {
    return { path: parseStorePath(`${storeDir}/${name}`, storeDir), inside: rest.join('/') };
  } catch (error) {
    // A link out of the store leads nowhere here.
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

/** Throws `bad-root` unless the path holds a Nix for that kind of machine. */
export async function checkSystem(path: StorePath, system: string, open: NarOpener): Promise<void> {
  const found = await systemOfNix(path, open);
  if (found === system) return;
  if (found === undefined) {
    throw new NixferryError('bad-root', `${path} holds no program bin/nix`, {
      hint: 'name the store path of a Nix: it ends in -nix- and a version',
    });
  }
  throw new NixferryError('bad-root', `${path} is a Nix for ${found}, not for ${system}`, {
    hint: `name one for ${system}, or say --system ${found} to carry it along`,
  });
}
