// src/site/doctor looks at a machine and says what keeps Nix from working there: each file looks at one thing and gives findings; diagnose.ts
// knows the order. Nothing here changes anything, and everything that may hang has a bound.

/**
 * `problem`: this will fail, or make Nix wait for minutes. `warning`: it may, or it is unsafe. `note`: it is so, and does not matter for what this machine
 * is there for. `fine`: looked at, and as it should be.
 */
export type FindingLevel = 'problem' | 'warning' | 'note' | 'fine';

export interface Finding {
  /** Names the kind of finding for programs; the same in every version. */
  readonly id: string;
  readonly level: FindingLevel;
  /** What was found, and what comes of it. */
  readonly text: string;
  /** What to do about it, as an order. */
  readonly cure?: string | undefined;
  readonly paste?: Paste | undefined;
}

/** Lines that can be pasted as they stand. */
export interface Paste {
  /** A file, or `a shell`. */
  readonly into: string;
  readonly lines: readonly string[];
}

export function fine(id: string, text: string): Finding {
  return { id, level: 'fine', text };
}

export function problem(id: string, text: string, remedy: Remedy = {}): Finding {
  return { id, level: 'problem', text, ...remedy };
}

export function warning(id: string, text: string, remedy: Remedy = {}): Finding {
  return { id, level: 'warning', text, ...remedy };
}

export function note(id: string, text: string, remedy: Remedy = {}): Finding {
  return { id, level: 'note', text, ...remedy };
}

export type Remedy = Pick<Finding, 'cure' | 'paste'>;

export function inShell(cure: string, ...lines: readonly string[]): Remedy {
  return { cure, paste: { into: 'a shell', lines } };
}

/** How settings are written on this machine. */
export interface SettingsStyle {
  readonly isNixos: boolean;
  /** The socket of the daemon, when there is one. */
  readonly daemonSocket: string | undefined;
}

export interface SettingLine {
  readonly name: string;
  readonly value: string | number | boolean | readonly string[];
  /** For NixOS, where modules add to the same list. */
  readonly force?: boolean;
}

/** The lines that set something for all users of this machine, the daemon included. */
export function settingRemedy(
  { isNixos, daemonSocket }: SettingsStyle,
  cure: string,
  ...settings: readonly SettingLine[]
): Remedy {
  if (isNixos) {
    return {
      cure,
      paste: { into: '/etc/nixos/configuration.nix (then nixos-rebuild switch)', lines: settings.map(nixosLine) },
    };
  }
  const lines = settings.map(({ name, value }) => `${name} = ${typeof value === 'object' ? value.join(' ') : value}`);
  return {
    cure,
    paste: {
      into: `/etc/nix/nix.conf (in place of lines with the same name${daemonSocket === undefined ? '' : '; then systemctl restart nix-daemon'})`,
      lines,
    },
  };
}

function nixosLine({ name, value, force }: SettingLine): string {
  const text =
    typeof value === 'object'
      ? `[ ${value.map((word) => JSON.stringify(word)).join(' ')} ]`
      : typeof value === 'string'
        ? JSON.stringify(value)
        : String(value);
  // JSON writes a text as Nix does, but for this.
  const safe = text.replaceAll('${', '\\${');
  return `nix.settings.${name} = ${force === true ? 'lib.mkForce ' : ''}${safe};`;
}
