import { readFileSync } from 'node:fs';
import { getAsset, isSea } from 'node:sea';

/**
 * The version in package.json, which lies two folders above this file, in a clone and in the published package alike; the program that
 * travels on the medium has it inside.
 */
export function readVersion(): string {
  const text = isSea()
    ? getAsset('package.json', 'utf8')
    : readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const { version } = JSON.parse(text) as { version: string };
  return version;
}
