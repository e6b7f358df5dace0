import { existsSync, realpathSync, statSync } from 'node:fs';
import { dirname, resolve, sep } from 'node:path';
import { NixferryError } from '../base/errors.ts';

/** Where systems mount media: a folder that is not there is a medium that is not mounted. */
const MOUNT_FOLDERS: readonly string[] = ['/media', '/run/media', '/mnt'];

/**
 * Throws `usage` where a shipment would fill this machine's own disk in place of a medium. A folder on a medium may be made, but not a medium: its parent must
 * be there, and where that is one in which media are mounted, something must be mounted there.
 */
export function checkMedium(given: string, mountFolders: readonly string[] = MOUNT_FOLDERS): void {
  const to = resolve(given);
  const parent = dirname(to);
  if (existsSync(to)) return;
  if (!existsSync(parent)) {
    throw new NixferryError('usage', `there is no ${parent}`, {
      hint: 'mount the medium, or make the folder, then type the same command again',
    });
  }
  const real = realpathSync(parent);
  const base = mountFolders.find((folder) => real === folder || real.startsWith(`${folder}${sep}`));
  // On the device of what lies around all media: on none of them.
  if (base === undefined || statSync(real).dev !== statSync(dirname(base)).dev) return;
  throw new NixferryError('usage', `there is no ${to}`, {
    hint: 'is the medium mounted? make the folder yourself to write there anyway, then type the same command again',
  });
}
