import { opendir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { CACHE_INFO_NAME } from '../mirror/layout.ts';
import { parseCacheInfo } from '../nix/cache-info.ts';
import type { ServeContext } from './serve-context.ts';

/** Something that must be so for clients to be served. */
export interface HealthCheck {
  readonly name: string;
  readonly ok: boolean;
  /** Why not. */
  readonly reason?: string;
}

/** Looks whether clients can be sent here. */
export function runHealthChecks(context: ServeContext): Promise<HealthCheck[]> {
  return Promise.all([
    check('running', async () => {
      if (context.stopping.aborted) throw new Error('the server is stopping');
    }),
    check('mirror readable', () => readFirstEntry(context.directory)),
    check('nix-cache-info', async () => {
      const bytes = await context.files.read(CACHE_INFO_NAME);
      if (bytes === undefined) throw new Error(`${CACHE_INFO_NAME} is missing`);
      const { storeDir } = parseCacheInfo(bytes);
      if (storeDir !== context.storeDir) {
        throw new Error(`StoreDir was ${context.storeDir} and is now ${storeDir}: restart the server`);
      }
    }),
    check('nar folder readable', () => readFirstEntry(join(context.directory, 'nar'))),
    check('file system answers', async () => void (await statfs(context.directory))),
  ]);
}

async function check(name: string, probe: () => Promise<void>): Promise<HealthCheck> {
  try {
    await probe();
    return { name, ok: true };
  } catch (error) {
    return { name, ok: false, reason: error instanceof Error ? error.message : String(error) };
  }
}

/** A medium that was pulled out still has its mount point: only reading tells. */
async function readFirstEntry(directory: string): Promise<void> {
  const folder = await opendir(directory);
  try {
    await folder.read();
  } finally {
    await folder.close();
  }
}
