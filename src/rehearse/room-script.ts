// src/rehearse tries a root out as the isolated side would: real Nix in a room of its own, a namespace without network, with an
// empty store and the mirror as its only substituter. It prints nothing, and it knows no shipment.
// This file is the shell script that furnishes the room; the rest of the house is not visible from in there.

/** What is mounted into the room, as the file system outside has it. */
export interface RoomPlan {
  /** The folder that becomes `/`. */
  readonly root: string;
  /** Folders and files of this machine, seen read-only at a place in the room. Only what is there. */
  readonly binds: readonly RoomBind[];
  /** Symbolic links in the room. */
  readonly links: readonly { readonly at: string; readonly to: string }[];
  /** `umount` as it is called inside. */
  readonly umount: string;
}

export interface RoomBind {
  /** Undefined: an empty folder hides what is there. */
  readonly from: string | undefined;
  /** Below the room's `/`. */
  readonly at: string;
  readonly isFolder: boolean;
}

/** What the script prints when the room stands, and after it the process that holds it open. */
export const READY = 'the room is ready, held by process';

const DEVICES = ['null', 'zero', 'full', 'random', 'urandom', 'tty', 'kvm'];
const DEVICE_LINKS = { fd: '/proc/self/fd', stdin: 'fd/0', stdout: 'fd/1', stderr: 'fd/2', ptmx: 'pts/ptmx' };

/**
 * The script that the first process of the namespace runs. It ends when its standard input does, and everything in the namespace with it:
 * so nothing stays behind, however the process dies that holds the other end.
 */
export function roomScript(plan: RoomPlan): string {
  const lines = [
    'set -eu',
    // As the /proc that is still the outer one numbers this process: what `nsenter` needs.
    'read -r holder rest < /proc/self/stat',
    `mount --rbind ${quote(plan.root)} ${quote(plan.root)}`,
    `cd ${quote(plan.root)}`,
    'mkdir -p proc dev/pts dev/shm .outside',
    ...plan.binds.flatMap(bindLines),
    ...plan.links.flatMap(({ at, to }) => [makeParent(at), `ln -sfn ${quote(to)} ${quote(inside(at))}`]),
    // Some containers forbid a new /proc; the outer one shows the same processes under other numbers, which is good enough for Nix.
    'mount -t proc proc proc 2>/dev/null || mount --rbind /proc proc',
    ...DEVICES.map((name) => `if [ -e /dev/${name} ]; then : > dev/${name}; mount --bind /dev/${name} dev/${name}; fi`),
    ...Object.entries(DEVICE_LINKS).map(([name, target]) => `ln -sfn ${target} dev/${name}`),
    'mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts',
    'mount -t tmpfs -o mode=1777 tmpfs dev/shm',
    // Programs that talk to themselves want loopback, as every machine has it. Without `ip` they do without.
    'ip link set lo up 2>/dev/null || true',
    'pivot_root . .outside',
    'cd /',
    `${quote(plan.umount)} -l /.outside`,
    // Whatever is orphaned in here becomes this process's child: the kernel shall bury it.
    "trap '' CHLD",
    `echo "${READY} $holder"`,
    'while read -r line; do :; done',
  ];
  return `${lines.join('\n')}\n`;
}

/** Quotes a text for the shell. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function bindLines({ from, at, isFolder }: RoomBind): string[] {
  const target = quote(inside(at));
  // Where nothing is to be hidden, there is nothing to do, and on what is read-only nothing can be made.
  if (from === undefined) return [`if [ -d ${target} ]; then mount -t tmpfs -o ro tmpfs ${target}; fi`];
  const make = isFolder ? `mkdir -p ${target}` : `[ -e ${target} ] || : > ${target}`;
  return [makeParent(at), make, `mount --rbind ${quote(from)} ${target}`, `mount -o remount,bind,ro ${target}`];
}

function makeParent(at: string): string {
  const parent = inside(at).split('/').slice(0, -1).join('/');
  return parent === '' ? ':' : `mkdir -p ${quote(parent)}`;
}

/** Relative to the room's root, where the script is when it needs it. */
function inside(at: string): string {
  return at.replace(/^\/+/, '');
}
