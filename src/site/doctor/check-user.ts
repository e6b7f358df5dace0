import { connect } from 'node:net';
import type { SettingValues } from './check-settings.ts';
import { type Finding, fine, inShell, problem, settingRemedy, warning } from './finding.ts';
import type { Machine } from './machine.ts';

export interface UserSettings {
  /** As this user has them. */
  readonly own: SettingValues;
  /** As they are for all. */
  readonly system: SettingValues;
}

/** What a user may decide where a daemon does the work. */
export const RESTRICTED_SETTINGS = ['substituters', 'trusted-public-keys', 'require-sigs', 'netrc-file'] as const;

/** Whether what this user has set counts, where Nix works through its daemon. */
export function checkUser(settings: UserSettings, machine: Machine): Finding[] {
  const { isRoot, daemonSocket, userName } = machine;
  if (daemonSocket === undefined || isRoot) return [];
  const trusted = settings.system.get('trusted-users') ?? [];
  if (isTrusted(trusted, machine))
    return [fine('trusted-users', `${userName} is among trusted-users: what he sets counts`)];
  const own = RESTRICTED_SETTINGS.filter((name) => !isAllowed(name, settings));
  if (own.length === 0) {
    return [
      fine(
        'trusted-users',
        `${userName} is not among trusted-users, and needs not be: he sets nothing that only they may`,
      ),
    ];
  }
  const text = `${userName} sets ${own.join(', ')}, and is not among trusted-users: the daemon goes by /etc/nix/nix.conf and ignores that`;
  return [
    problem(
      'trusted-users',
      text,
      settingRemedy(machine, 'set it for all users instead, or (only whom you would make root) trust him', {
        name: 'trusted-users',
        value: [...trusted, userName],
      }),
    ),
  ];
}

function isTrusted(trusted: readonly string[], { userName, groupNames }: Machine): boolean {
  return trusted.some(
    (who) => who === '*' || who === userName || (who.startsWith('@') && groupNames.includes(who.slice(1))),
  );
}

/** Everybody may use what the system uses, and what it lists as trusted-substituters. */
function isAllowed(name: string, { own, system }: UserSettings): boolean {
  const mine = own.get(name) ?? [];
  const theirs = new Set(system.get(name) ?? []);
  if (name === 'substituters') for (const address of system.get('trusted-substituters') ?? []) theirs.add(address);
  return mine.every((word) => theirs.has(word));
}

/** Whether somebody listens where commands of users look for the daemon. */
export async function checkDaemon({ daemonSocket, isRoot }: Machine, timeoutMs: number): Promise<Finding[]> {
  if (daemonSocket === undefined) return [];
  if (await answers(daemonSocket, timeoutMs)) return [fine('daemon', `the Nix daemon listens (${daemonSocket})`)];
  const remedy = inShell('start it', 'systemctl restart nix-daemon.socket nix-daemon');
  const text = `nobody listens at ${daemonSocket}: Nix cannot reach its daemon`;
  return [isRoot ? warning('daemon', `${text}; root works without`, remedy) : problem('daemon', text, remedy)];
}

function answers(socketFile: string, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketFile);
    const end = (is: boolean): void => {
      socket.destroy();
      resolve(is);
    };
    socket.setTimeout(timeoutMs, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
