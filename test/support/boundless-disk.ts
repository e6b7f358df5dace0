// Preloaded (`node --import`) to make a command believe that every disk is large: what a disk that runs full does then shows at the very
// step that meets it, and not in the refusal beforehand.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const realStatfs = fs.promises.statfs;
const BLOCKS = 2 ** 40;

fs.promises.statfs = (async (...args: Parameters<typeof realStatfs>) => {
  const stats = await realStatfs(...args);
  return { ...stats, blocks: BLOCKS, bfree: BLOCKS, bavail: BLOCKS };
}) as typeof realStatfs;
syncBuiltinESMExports();
