// The isolated side: Nix in a namespace with nothing but loopback, and the proof that this is so.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createNixEnvironment, type NixEnvironment, type NixEnvironmentOptions } from './nix.ts';

export interface AirGap extends NixEnvironment {
  /** How often anything in here tried to reach another machine since the gap was opened, name servers included. */
  attemptsToLeave(): Promise<number>;
}

/** Opens an isolated side with an empty store and home, and proves first that no other machine can be reached from it. */
export async function openAirGap(options: Omit<NixEnvironmentOptions, 'network'> = {}): Promise<AirGap> {
  const nix = await createNixEnvironment({ ...options, network: 'none' });
  try {
    await useUnreachableNameServer(nix);
    await assertOnlyLoopback(nix);
    const before = await refusedRoutes(nix);
    return { ...nix, attemptsToLeave: async () => (await refusedRoutes(nix)) - before };
  } catch (error) {
    await nix[Symbol.asyncDispose]();
    throw error;
  }
}

/** Fails unless loopback is the only interface, no route leads anywhere else and an attempt to leave fails at once. */
export async function assertOnlyLoopback(nix: NixEnvironment): Promise<void> {
  const interfaces = (await nix.lines('ip', ['-oneline', 'link', 'show'])).map((line) => line.split(':')[1]?.trim());
  assert.deepEqual(interfaces, ['lo']);
  assert.deepEqual(await nix.lines('ip', ['route', 'show']), []);

  const before = await refusedRoutes(nix);
  const attempt = await nix.run('bash', ['-c', 'exec 3<>/dev/tcp/192.0.2.1/80'], { exitCode: 'any' });
  assert.notEqual(attempt.exitCode, 0);
  assert.match(attempt.stderr, /unreachable/i);
  assert.equal(await refusedRoutes(nix), before + 1, 'the kernel counts attempts to leave');
}

/** A name server on loopback could answer or swallow questions; one that no route leads to makes each one count. */
async function useUnreachableNameServer(nix: NixEnvironment): Promise<void> {
  const file = path.join(nix.directory, 'resolv.conf');
  await writeFile(file, 'nameserver 192.0.2.53\noptions timeout:1 attempts:1\n');
  await nix.run('/bin/sh', [
    '-euc',
    'real=$(readlink -f /etc/resolv.conf); if [ -e "$real" ]; then mount --bind "$0" "$real"; fi',
    file,
  ]);
}

/** The kernel's count of packets and connections for which there was no route, in this network namespace. */
async function refusedRoutes(nix: NixEnvironment): Promise<number> {
  const { stdout } = await nix.run('cat', ['/proc/net/snmp', '/proc/net/snmp6']);
  const [names = [], values = []] = stdout
    .split('\n')
    .filter((line) => line.startsWith('Ip: '))
    .map((line) => line.split(' '));
  const overIp6 = /^Ip6OutNoRoutes\s+(\d+)$/m.exec(stdout)?.[1] ?? '0';
  return Number(values[names.indexOf('OutNoRoutes')]) + Number(overIp6);
}
