// `npm run complete-lock`, after an `npm install` from a registry that has no packages for other platforms: puts them back
// into package-lock.json, without which `npm ci` refuses it.

import { leftOutOf, readPackageLock, withLeftOut, writePackageLock } from '../test/support/package-lock.ts';

const lock = await readPackageLock();
const leftOut = leftOutOf(lock);
if (leftOut.length > 0) await writePackageLock(withLeftOut(lock, leftOut));
process.stdout.write(`${leftOut.length} packages added to package-lock.json\n`);
