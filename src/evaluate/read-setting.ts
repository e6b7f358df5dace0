import { NixferryError } from '../base/errors.ts';
import { type Complaints, runNix } from './nix-command.ts';

/** The value of a setting of the Nix here, as words; undefined where it does not know it. Throws `nix-not-found`, `nix-failed`. */
export async function readNixSetting(name: string, signal: AbortSignal): Promise<readonly string[] | undefined> {
  return (await readNixSettings({ signal })).values.get(name);
}

export interface NixSettings {
  /** As words, by name, with everything counted that this Nix counts. */
  readonly values: ReadonlyMap<string, readonly string[]>;
  /** What Nix said besides, such as that it does not know a setting. */
  readonly complaints: readonly string[];
}

/**
 * All settings of the Nix here. As text: its JSON gives some as numbers of an internal list (2.8), the text has never changed.
 * @param environment set besides that of this process, to leave out what a user has set.
 * Throws `nix-not-found`, `nix-failed`, and the signal's reason.
 */
export async function readNixSettings(options: {
  readonly signal: AbortSignal;
  readonly environment?: Readonly<Record<string, string>>;
}): Promise<NixSettings> {
  let said: string[] = [];
  const complaints = (): Complaints => {
    said = [];
    return {
      push: (text) => void (said.length < MOST_COMPLAINTS && said.push(text)),
      text: () => said.join(''),
    };
  };
  const printed = await printSettings({ ...options, complaints });
  const values = new Map<string, readonly string[]>();
  for (const line of printed.split('\n')) {
    const [, name, value = ''] = /^([a-z0-9-]+) = ?(.*)$/.exec(line) ?? [];
    if (name !== undefined)
      values.set(
        name,
        value.split(/\s+/).filter((word) => word !== ''),
      );
  }
  const lines = said.join('').split('\n');
  return { values, complaints: lines.map((line) => line.trim()).filter((line) => line !== '') };
}

const MOST_COMPLAINTS = 1000;

/** And nothing more: what else is switched on is among the answers. */
const COMMAND = ['--extra-experimental-features', 'nix-command'] as const;

/** The first is how Nix spells it from 2.20 on. */
async function printSettings(options: Omit<Parameters<typeof runNix>[2], 'purpose'>): Promise<string> {
  const common = { ...options, purpose: 'reading the settings of Nix' };
  try {
    return (await runNix('nix', [...COMMAND, 'config', 'show'], common)).toString('utf8');
  } catch (error) {
    if (!(error instanceof NixferryError) || !REFUSALS.has(error.code)) throw error;
    return (await runNix('nix', [...COMMAND, 'show-config'], common)).toString('utf8');
  }
}

const REFUSALS: ReadonlySet<string> = new Set(['nix-failed', 'nix-too-old']);
