// src/shipment is the shipment: its format, packing it, reading it, importing it. It knows nothing of networks, and must not:
// an import makes no outgoing connection. This file holds the names and numbers of format 1 (docs/format.md).
import { NixferryError } from '../base/errors.ts';

/** The format that this Nixferry writes. It reads this one and every older one. */
export const FORMAT = 1;

export const MANIFEST_FILE = 'manifest.json';
export const SIGNATURE_FILE = 'manifest.sig';
export const INVENTORY_FILE = 'inventory.jsonl.zst';
export const CHECKSUMS_FILE = 'SHA256SUMS';
export const READ_ME_FILE = 'READ-ME-FIRST.txt';
export const VOLUMES_FOLDER = 'volumes';
export const TOOLS_FOLDER = 'tools';
/** Lies beside the manifest where Nix itself travels along. */
export const INSTALLER_FILE = 'install-nix.sh';
/** Lies beside the others while a pack is under way; a shipment with a manifest is finished whether it is there or not. */
export const UNFINISHED_FILE = 'UNFINISHED.json';

/** FAT32 holds no file of 4 GiB; the rest is left for file systems that count differently. */
export const VOLUME_BYTES_MAX = 4 * 1024 ** 3 - 1024 ** 2;
export const VOLUME_BYTES_DEFAULT = 512 * 1024 ** 2;
/** Room for the largest header that a member can have, so that no header is ever cut. */
export const VOLUME_BYTES_MIN = 8192;

const SITE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$/;
const SEQUENCE_MAX = 999_999_999;

/** Whether `text` can name a site: it becomes part of folder and file names on media that fold case and know few characters. */
export function isSiteName(text: string): boolean {
  return SITE_NAME.test(text) && !text.endsWith('.');
}

/** Gives the name back, or throws `usage`. */
export function checkSiteName(text: string): string {
  if (isSiteName(text)) return text;
  throw new NixferryError('usage', `${JSON.stringify(text)} cannot be the name of a site`, {
    hint: 'use 1 to 40 letters, digits, dots, dashes and underscores, and begin with a letter or digit: --site plant-7',
  });
}

export function isSequence(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1 && value <= SEQUENCE_MAX;
}

/** At least four digits: `0042`. */
export function formatSequence(sequence: number): string {
  return String(sequence).padStart(4, '0');
}

/** The folder of a shipment: `plant-7-0042`. */
export function shipmentName(site: string, sequence: number): string {
  return `${site}-${formatSequence(sequence)}`;
}

/**
 * The file names of all volumes in their order: `0042-001.tar`. All are equally long, so that the shell's `volumes/*.tar` gives
 * them in this order.
 */
export function volumeNames(sequence: number, count: number): string[] {
  const digits = Math.max(3, String(count).length);
  return Array.from({ length: count }, (_, index) => {
    return `${formatSequence(sequence)}-${String(index + 1).padStart(digits, '0')}.tar`;
  });
}

/** The folders of all discs in their order, all equally long: `disc-01`. */
export function discFolders(count: number): string[] {
  const digits = Math.max(2, String(count).length);
  return Array.from({ length: count }, (_, index) => `disc-${String(index + 1).padStart(digits, '0')}`);
}

export const DISC_FOLDER = /^disc-[0-9]{2,4}$/;

/** Gives the size back as a whole number of tar blocks, or throws `usage` when no medium or no header could take it. */
export function checkVolumeSize(sizeBytes: number): number {
  if (sizeBytes >= VOLUME_BYTES_MIN && sizeBytes <= VOLUME_BYTES_MAX) return Math.floor(sizeBytes / 512) * 512;
  throw new NixferryError('usage', `a volume cannot be ${sizeBytes} bytes large`, {
    hint: `choose a --volume-size between ${VOLUME_BYTES_MIN} bytes and 4095 MiB`,
  });
}
