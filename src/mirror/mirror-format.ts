import { NixferryError } from '../base/errors.ts';
import { readFileIfExists, writeFileAtomic } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import type { PrivateLayout } from './layout.ts';

/** The newest layout of `.nixferry/` that this program reads; older ones stay readable. */
export const MIRROR_FORMAT = 1;

/** Reads mirror.json; false when there is none. Throws `newer-format` or `damage`. */
export async function checkMirrorFormat(layout: PrivateLayout): Promise<boolean> {
  const bytes = await readFileIfExists(layout.formatFile, LIMITS.mirrorFormatBytes);
  if (bytes === undefined) return false;
  const format = parseFormat(bytes);
  if (format === undefined) {
    throw new NixferryError('damage', `${layout.formatFile} does not state the format of the mirror`, {
      hint: `if the mirror was written by this version, replace the file's contents by {"format":${MIRROR_FORMAT}}`,
    });
  }
  if (format > MIRROR_FORMAT) {
    throw new NixferryError(
      'newer-format',
      `${layout.folder} has format ${format}; this Nixferry reads up to ${MIRROR_FORMAT}`,
      {
        hint: 'use the newer Nixferry that wrote it',
      },
    );
  }
  return true;
}

export async function writeMirrorFormat(layout: PrivateLayout): Promise<void> {
  await writeFileAtomic(layout.formatFile, `${JSON.stringify({ format: MIRROR_FORMAT })}\n`);
}

function parseFormat(bytes: Buffer): number | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof value !== 'object' || value === null || !('format' in value)) return undefined;
    const { format } = value;
    return typeof format === 'number' && Number.isSafeInteger(format) && format >= 1 ? format : undefined;
  } catch {
    return undefined;
  }
}
