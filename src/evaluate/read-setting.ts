import { NixferryError } from '../base/errors.ts';
import { FEATURES } from './evaluate-value.ts';
import { runNix } from './nix-command.ts';

/** The value of a setting of the Nix here, as words; undefined where it does not know it. Throws `nix-not-found`, `nix-failed`. */
export async function readNixSetting(name: string, signal: AbortSignal): Promise<readonly string[] | undefined> {
  for (const line of (await printSettings(signal)).split('\n')) {
    const [, found, value = ''] = /^([a-z0-9-]+) = ?(.*)$/.exec(line) ?? [];
    if (found === name) return value.split(/\s+/).filter((word) => word !== '');
  }
  return undefined;
}

/** The first is how Nix spells it from 2.20 on. */
async function printSettings(signal: AbortSignal): Promise<string> {
  const purpose = 'reading the settings of Nix';
  try {
    return (await runNix('nix', [...FEATURES, 'config', 'show'], { purpose, signal })).toString('utf8');
  } catch (error) {
    if (!(error instanceof NixferryError) || !REFUSALS.has(error.code)) throw error;
    return (await runNix('nix', [...FEATURES, 'show-config'], { purpose, signal })).toString('utf8');
  }
}

const REFUSALS: ReadonlySet<string> = new Set(['nix-failed', 'nix-too-old']);
