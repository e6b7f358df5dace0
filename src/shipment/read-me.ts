import { formatBytes, formatCount } from '../base/amounts.ts';
import { distinctNames } from '../mirror/distinct-names.ts';
import { nixRootSystem } from '../mirror/nix-root.ts';
import { formatSequence, INSTALLER_FILE, shipmentName } from './format.ts';
import type { RootLine } from './inventory.ts';
import type { Manifest, ManifestVolume } from './manifest.ts';
import { formatSequences } from './sequence-ranges.ts';

/** What the cover page tells beside the manifest. */
export interface ReadMeDetails {
  /** The roots as the inventory states them: their store paths tell the versions. */
  readonly lines?: readonly Pick<RootLine, 'rootPaths'>[] | undefined;
  /** On which disc the page lies, from 1 on; undefined where the shipment is one folder. */
  readonly disc?: number | undefined;
}

/** READ-ME-FIRST.txt: for somebody who finds the medium and has never heard of Nixferry. Plain ASCII, lines of at most 100 characters. */
export function formatReadMe(manifest: Manifest, { lines = [], disc }: ReadMeDetails = {}): string {
  return [
    title(manifest, disc),
    whatItIs(manifest, disc),
    ...(disc === undefined ? [] : [whichDisc(manifest, disc)]),
    whatIsInside(manifest, lines),
    howToImport(manifest, disc),
    ...(manifest.installer === undefined ? [] : [howToInstallNix(manifest, disc)]),
    howToCheck(manifest, disc),
    howToUnpack(manifest, disc),
    "The format is described in docs/format.md of Nixferry: a reader of one's own can be written from it.\n",
  ].join('\n');
}

const ROOTS_SHOWN = 50;
const DISCS_SHOWN = 100;
const ROOT_PATHS_SHOWN = 3;

function title({ site, sequence, volumes }: Manifest, disc: number | undefined): string {
  const which = disc === undefined ? '' : `, disc ${disc} of ${discCount(volumes)}`;
  const text = `Shipment ${formatSequence(sequence)} for the site ${site}${which}`;
  return `${text}\n${'='.repeat(text.length)}\n`;
}

function whatItIs(manifest: Manifest, disc: number | undefined): string {
  const { totals, volumes } = manifest;
  const place = disc === undefined ? 'in volumes/' : `on ${formatCount(discCount(volumes), 'disc')}`;
  return `This ${disc === undefined ? 'folder' : 'disc'} carries software for Nix to a site without internet.

  For:       the site named ${manifest.site}
  From:      the sender with the key ${ascii(manifest.sender)}
  Packed:    ${manifest.created}, by ${ascii(manifest.generator)}
  Holds:     ${formatCount(totals.pathCount, 'store path')}, ${formatBytes(totals.narSizeBytes)} when installed${buildsOn(manifest)}
  Volumes:   ${formatCount(volumes.length, 'file')} ${place}, ${formatBytes(totals.volumesSizeBytes)} together
${rehearsed(manifest, disc)}`;
}

/** The sender has tried it out. */
function rehearsed({ rehearsals = [] }: Manifest, disc: number | undefined): string {
  if (rehearsals.length === 0) return '';
  const where = disc === undefined || disc === 1 ? '' : ' on disc 1';
  return `  Rehearsed: ${rehearsals.map(({ name, verdict }) => `${name}${where} (${ascii(verdict)})`).join(', ')}\n`;
}

/** A shipment that carries only what is new is worth nothing to somebody who lacks the rest. */
function buildsOn({ totals, lost }: Manifest): string {
  if (totals.needCount === 0) return '';
  const again = lost.length === 0 ? '' : `\n  Again:     what shipment ${ascii(formatSequences(lost))} carried`;
  return `\n  Builds on: ${formatCount(totals.needCount, 'store path')} that came with earlier shipments${again}`;
}

function whichDisc({ volumes }: Manifest, disc: number): string {
  const last = discCount(volumes);
  const lines = Array.from({ length: Math.min(last, DISCS_SHOWN) }, (_, index) => {
    const own = volumes.filter((volume) => volume.disc === index + 1);
    const ends = new Set([own[0]?.name, own.at(-1)?.name]);
    const names = own.length === 0 ? 'no volumes' : [...ends].join(' to ');
    return `  disc ${String(index + 1).padStart(String(last).length)}   ${names}${index + 1 === disc ? '   <- this one' : ''}\n`;
  });
  const more = last > DISCS_SHOWN ? `  ... and ${last - DISCS_SHOWN} more\n` : '';
  return `Which disc this is\n------------------\n${lines.join('')}${more}`;
}

function whatIsInside({ roots }: Manifest, rootLines: readonly Pick<RootLine, 'rootPaths'>[]): string {
  const distinct = distinctNames(roots);
  const lines = roots.slice(0, ROOTS_SHOWN).map((root, index) => {
    const size = formatBytes(root.narSizeBytes);
    const paths = rootLines[index]?.rootPaths ?? [];
    // Without the 32 digits: name and version are what a person reads.
    const names = paths.slice(0, ROOT_PATHS_SHOWN).map((path) => `      ${ascii(path.slice(33))}\n`);
    const others = paths.length > ROOT_PATHS_SHOWN ? `      ... and ${paths.length - ROOT_PATHS_SHOWN} more\n` : '';
    const about = `scope ${root.scope}; ${formatCount(root.pathCount, 'path')}, ${size}`;
    const request = distinct[index] === root.name ? '' : `      asked for as ${ascii(root.request)}\n`;
    return `  - ${ascii(root.name)} (${about})\n${request}${names.join('')}${others}`;
  });
  const rest = roots.length - lines.length;
  const more = rest > 0 ? `  ... and ${rest} more; manifest.json lists all of them\n` : '';
  return `What it is for\n--------------\n${lines.join('')}${more}`;
}

function howToImport(manifest: Manifest, disc: number | undefined): string {
  const hasTools = manifest.tools.length > 0;
  if (disc !== undefined) return howToImportDiscs(manifest, hasTools);
  return hasTools ? howToImportWithTools(manifest) : howToImportFolder(manifest);
}

function howToImportFolder(manifest: Manifest): string {
  const folder = shipmentName(manifest.site, manifest.sequence);
  return `On the isolated side
--------------------
Type, with the path where this medium is mounted:

  nixferry import /path/to/${folder}

${ABOUT_IMPORT}`;
}

function howToImportWithTools(manifest: Manifest): string {
  const folder = shipmentName(manifest.site, manifest.sequence);
  return `On the isolated side
--------------------
Nothing needs to be installed: Nixferry is on this medium, for Linux on ${machines(manifest)}.
Type, with the path where this medium is mounted:

  sh /path/to/${folder}/tools/nixferry import /path/to/${folder}

${ABOUT_IMPORT}
To keep Nixferry, for serving and for the next shipment, copy it and type its full path from then on:

${keepTools(`/path/to/${folder}`)}  sh /opt/nixferry/nixferry serve --listen :8080

The same lines update an older one that is there; stop serve and start it again then.

The hash of each file in tools/ is in manifest.json, which the sender has signed.
`;
}

function howToImportDiscs(manifest: Manifest, hasTools: boolean): string {
  const discs = discCount(manifest.volumes);
  const program = hasTools ? 'sh /opt/nixferry/nixferry' : 'nixferry';
  const tools = `Nothing needs to be installed: Nixferry is on disc 1, for Linux on ${machines(manifest)}.
Copy it first, so that the drive is free for the other discs:

${keepTools('/path/to/disc')}
`;
  return `On the isolated side
--------------------
${hasTools ? tools : ''}Put in one disc after the other, disc 1 first, and type for each, with the path where it is mounted:

  ${program} import /path/to/disc

Until the last disc the command ends with exit code 10 and says which discs are still missing.
Or name all ${discs} at once, where they are in several drives or were copied to folders:

  ${program} import /path/to/discs/*

${ABOUT_IMPORT}`;
}

/** May be typed again with a later shipment. Files are removed first: a Nixferry that is running would crash if they were written into. */
function keepTools(medium: string): string {
  return `  mkdir -p /opt/nixferry
  cp -r --remove-destination ${medium}/tools/. /opt/nixferry/
`;
}

function howToInstallNix({ site, sequence, roots }: Manifest, disc: number | undefined): string {
  const systems = roots.map(nixRootSystem).filter((system) => system !== undefined);
  const where = disc === undefined ? `/path/to/${shipmentName(site, sequence)}` : '/path/to/disc1';
  const more = disc === undefined ? '' : ' /path/to/disc2 ...';
  return `Where there is no Nix yet
-------------------------
Nix itself is on this medium, for ${systems.map(ascii).join(' and ')}. To install it, as root, without network:

  sh ${where}/${INSTALLER_FILE} --trust KEY --url http://SERVER:8080 --public-key SITE-KEY${more}

KEY is the sender's; SERVER runs nixferry serve, and there nixferry keys show prints SITE-KEY. The script
says each step and begins with a list of what it touches. An installed Nix is left alone.
`;
}

const ABOUT_IMPORT = `Nothing is written to the medium; it may be write-protected. The first time, the command shows ten
words that stand for the sender's key. Ask the sender for them, over the telephone or on paper; they
do not stand in this file, because whoever could change the medium could change this file, too.
`;

function machines({ tools }: Manifest): string {
  const names = [...MACHINES].filter(([folder]) => tools.some(({ name }) => name.startsWith(`${folder}/`)));
  return names.map(([, name]) => name).join(' and ');
}

/** The folders in tools/, and what the kind of machine is called. */
const MACHINES: ReadonlyMap<string, string> = new Map([
  ['x64', 'x86_64'],
  ['arm64', 'aarch64'],
]);

function howToCheck({ volumes }: Manifest, disc: number | undefined): string {
  const all = volumes.length === 1 ? 'The volume is' : `All ${volumes.length} volumes are`;
  return `Is the medium in good order?
----------------------------
In the folder of this file, type:

  sha256sum --check SHA256SUMS

Each file must be OK. This tells of damage, not of forgery: only the signature does that, and
nixferry import checks it. ${disc === undefined ? all : `All discs are`} needed for everything. Where something is lost
or damaged, import what is left all the same: the command says what is missing, and what to do.
`;
}

function howToUnpack({ senderKey, storeDir, totals }: Manifest, disc: number | undefined): string {
  const before =
    totals.needCount === 0
      ? ''
      : '\nThis one goes over what was unpacked of the earlier shipments, into the same folder.';
  const where = disc === undefined ? 'In this folder:' : 'Copy volumes/ of all discs into one folder, and there:';
  return `Without Nixferry
----------------
The volumes are slices of one tar archive, which holds a complete Nix binary cache.${before}
${where}

  mkdir /srv/cache
  cat volumes/*.tar | tar -xf - -C /srv/cache

Then Nix (whose store is ${storeDir}) installs from it, for example with

  nix-store --realise ${storeDir}/... \\
    --option substituters file:///srv/cache \\
    --option trusted-public-keys ${ascii(senderKey)}

after the key has been compared with the sender.
`;
}

function discCount(volumes: readonly ManifestVolume[]): number {
  return volumes.reduce((most, { disc = 1 }) => Math.max(most, disc), 1);
}

// Names come from users and upstreams: nothing in them may look like a line of this file, or play tricks with a terminal.
function ascii(text: string): string {
  const plain = text.replaceAll(/[^\x20-\x7e]/g, '?');
  return plain.length <= 80 ? plain : `${plain.slice(0, 77)}...`;
}
