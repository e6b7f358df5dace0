import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generateSecretKey, publicKeyOf } from '../nix/index.ts';
import { parseHostSettings, type RoomSettings, roomFiles } from './room-settings.ts';

const publicKey = publicKeyOf(generateSecretKey('mirror-1'));
const host = parseHostSettings('', '/nix/store');
const base: RoomSettings = { publicKey, sandbox: false, isRoot: true, host, jobs: 2, more: [] };

function confOf(settings: Partial<RoomSettings>): Map<string, string> {
  const text = roomFiles({ ...base, ...settings }).get('/etc/nix/nix.conf') ?? '';
  return new Map([...text.matchAll(/^(\S+) = ?(.*)$/gm)].map(([, name = '', value = '']) => [name, value]));
}

test('parseHostSettings takes over what decides over building, and nothing that lies in a store', () => {
  const printed = [
    'allowed-users = *',
    'experimental-features = ca-derivations nix-command',
    'extra-platforms = i686-linux',
    'sandbox = false',
    'sandbox-paths = /bin/sh=/nix/store/abc-busybox/bin/busybox /etc/x=/usr/bin/bash-static',
    'system-features = big-parallel kvm',
    'substituters = https://cache.nixos.org/',
  ].join('\n');
  assert.deepEqual(parseHostSettings(printed, '/nix/store'), {
    experimentalFeatures: ['ca-derivations', 'nix-command'],
    systemFeatures: ['big-parallel', 'kvm'],
    extraPlatforms: ['i686-linux'],
    sandbox: false,
    sandboxPaths: ['/etc/x=/usr/bin/bash-static'],
  });
  assert.equal(host.sandbox, true, 'as Nix has it by default');
});

test('roomFiles makes the mirror the only substituter and its key the only one', () => {
  const conf = confOf({});
  assert.equal(conf.get('substituters'), 'file:///nixferry/cache');
  assert.match(conf.get('trusted-public-keys') ?? '', /^mirror-1:\S+$/);
  assert.deepEqual([conf.get('require-sigs'), conf.get('substitute'), conf.get('builders')], ['true', 'true', '']);
});

test('roomFiles gives builds to users of their own when root asks, and ends with what the user adds', () => {
  assert.equal(confOf({}).get('build-users-group'), 'nixbld');
  assert.equal(confOf({ isRoot: false }).get('build-users-group'), '');
  assert.equal(confOf({ more: ['cores = 3'] }).get('cores'), '3');
  const files = roomFiles(base);
  assert.match(files.get('/etc/group') ?? '', /^nixbld:x:30000:nixbld1,.*nixbld32$/m);
  assert.match(files.get('/etc/passwd') ?? '', /^nixbld32:x:30032:30000:/m);
});
