import { explainWriteError, NixferryError, systemErrorCode } from '../base/errors.ts';
import { NixFormatError } from '../nix/index.ts';

/** The error as one that a user can act on; undefined when it is a bug. */
export function toNixferryError(error: unknown): NixferryError | undefined {
  if (error instanceof NixferryError) return error;
  if (error instanceof NixFormatError) {
    return new NixferryError('usage', error.message, { hint: 'see that it was copied whole', cause: error });
  }
  const explained = explainWriteError(error, pathOf(error) ?? 'the mirror or the medium');
  if (explained instanceof NixferryError) return explained;
  return explainAccessError(error);
}

function explainAccessError(error: unknown): NixferryError | undefined {
  const path = pathOf(error);
  if (path === undefined) return undefined;
  switch (systemErrorCode(error)) {
    case 'EACCES':
    case 'EPERM':
      return new NixferryError('usage', `no permission for ${path}`, {
        hint: 'run this as the user who owns it, or choose another folder',
        cause: error,
      });
    case 'EROFS':
      return new NixferryError('usage', `${path} is on a read-only file system`, {
        hint: 'choose a folder that can be written to',
        cause: error,
      });
    case 'ENOENT':
    case 'ENOTDIR':
      return new NixferryError('usage', `there is no ${path}`, { hint: 'check the path', cause: error });
    case 'EIO':
      return new NixferryError('damage', `${path} cannot be read`, {
        hint: 'the medium may be damaged or may have been taken out; try again, or from another copy',
        cause: error,
      });
    default:
      return undefined;
  }
}

function pathOf(error: unknown): string | undefined {
  if (error instanceof Error && 'path' in error && typeof error.path === 'string') return error.path;
  return undefined;
}
