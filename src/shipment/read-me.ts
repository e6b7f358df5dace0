import { formatSequence, shipmentName } from './format.ts';
import { formatSize } from './format-size.ts';
import type { Manifest } from './manifest.ts';

/** READ-ME-FIRST.txt: for somebody who finds the medium and has never heard of Nixferry. Plain ASCII, lines of at most 100 characters. */
export function formatReadMe(manifest: Manifest): string {
  return [
    title(manifest),
    whatItIs(manifest),
    whatIsInside(manifest),
    manifest.tools.length > 0 ? howToImportWithTools(manifest) : howToImport(manifest),
    howToCheck(manifest),
    howToUnpack(manifest),
    "The format is described in docs/format.md of Nixferry: a reader of one's own can be written from it.\n",
  ].join('\n');
}

const ROOTS_SHOWN = 50;

function title({ site, sequence }: Manifest): string {
  const text = `Shipment ${formatSequence(sequence)} for the site ${site}`;
  return `${text}\n${'='.repeat(text.length)}\n`;
}

function whatItIs(manifest: Manifest): string {
  return `This folder carries software for Nix to a site without internet.

  For:       the site named ${manifest.site}
  From:      the sender with the key ${ascii(manifest.sender)}
  Packed:    ${manifest.created}, by ${ascii(manifest.generator)}
  Holds:     ${count(manifest.totals.pathCount, 'store path')}, ${formatSize(manifest.totals.narSizeBytes)} when installed
  Volumes:   ${count(manifest.volumes.length, 'file')} in volumes/, ${formatSize(manifest.totals.volumesSizeBytes)} together
`;
}

function whatIsInside({ roots }: Manifest): string {
  const lines = roots.slice(0, ROOTS_SHOWN).map((root) => {
    const size = formatSize(root.narSizeBytes);
    return `  - ${ascii(root.name)} (scope ${root.scope}; ${count(root.pathCount, 'path')}, ${size})\n`;
  });
  const rest = roots.length - lines.length;
  const more = rest > 0 ? `  ... and ${rest} more; manifest.json lists all of them\n` : '';
  return `What it is for\n--------------\n${lines.join('')}${more}`;
}

function howToImport(manifest: Manifest): string {
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

  cp -r /path/to/${folder}/tools /opt/nixferry
  sh /opt/nixferry/nixferry serve --listen :8080

The hash of each file in tools/ is in manifest.json, which the sender has signed.
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

function howToCheck({ volumes }: Manifest): string {
  const all = volumes.length === 1 ? 'The volume is' : `All ${volumes.length} volumes are`;
  return `Is the medium in good order?
----------------------------
In this folder, type:

  sha256sum --check SHA256SUMS

Each file must be OK. This tells of damage, not of forgery: only the signature does that, and
nixferry import checks it. ${all} needed for everything. Where something is lost
or damaged, import what is left all the same: the command says what is missing, and what to do.
`;
}

function howToUnpack({ senderKey, storeDir }: Manifest): string {
  return `Without Nixferry
----------------
The volumes are slices of one tar archive, which holds a complete Nix binary cache. In this folder:

  mkdir /srv/cache
  cat volumes/*.tar | tar -xf - -C /srv/cache

Then Nix (whose store is ${storeDir}) installs from it, for example with

  nix-store --realise ${storeDir}/... \\
    --option substituters file:///srv/cache \\
    --option trusted-public-keys ${ascii(senderKey)}

after the key has been compared with the sender.
`;
}

function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}

// Names come from users and upstreams: nothing in them may look like a line of this file, or play tricks with a terminal.
function ascii(text: string): string {
  const plain = text.replaceAll(/[^\x20-\x7e]/g, '?');
  return plain.length <= 80 ? plain : `${plain.slice(0, 77)}...`;
}
