import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { carriedToolsFolder } from '../base/carried-tools.ts';

/** Where the tools for a medium lie: in dist/ of a clone and of the published package; on a medium, where we came from. */
export function toolsFolder(): string {
  const carried = carriedToolsFolder();
  return carried === undefined ? fileURLToPath(new URL('../../dist/tools', import.meta.url)) : dirname(carried);
}
