import { readFileSync } from 'node:fs';

/** The version in package.json, which lies two folders above this file, in a clone and in the published package alike. */
export function readVersion(): string {
  const packageFile = new URL('../../package.json', import.meta.url);
  const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string };
  return version;
}
