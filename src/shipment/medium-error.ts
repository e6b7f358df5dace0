import { NixferryError, systemErrorCode } from '../base/errors.ts';

const MEDIUM_CODES: ReadonlySet<string | undefined> = new Set([
  'EIO',
  'ENXIO',
  'ENODEV',
  'ENOMEDIUM',
  'EUCLEAN',
  'ESTALE',
  'ENOENT',
  'ENOTDIR',
  'ENOTCONN',
  'EREMOTEIO',
  'EBADMSG',
  'EILSEQ',
  'ETIMEDOUT',
  'EHOSTDOWN',
]);

/**
 * Turns what a scratched, faulty or removed medium answers into a `damage` error that names the file, and a lack of permission into `usage`;
 * gives others back as they are.
 */
export function explainReadError(error: unknown, path: string): unknown {
  const code = systemErrorCode(error);
  if (code === 'EACCES' || code === 'EPERM') {
    return new NixferryError('usage', `${path} may not be read by this user`, {
      hint: 'mount the medium so that this user may read it, or type the same command as root',
      cause: error,
    });
  }
  if (!MEDIUM_CODES.has(code)) return error;
  return new NixferryError('damage', `${path} cannot be read (${code}): the medium is damaged or was removed`, {
    hint: 'put the medium in again, or take another copy of it; then type the same command again',
    cause: error,
  });
}
