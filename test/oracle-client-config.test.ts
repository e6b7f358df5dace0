// What client-config prints, read by real Nix.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { formatClientConfig } from '../src/site/client-config.ts';
import { createNixEnvironment } from './support/nix.ts';

const URL_TEXT = 'http://mirror.lan:8080';
const KEY = `mirror.lan-1:${'A'.repeat(43)}=`;
const SHARED = { url: URL_TEXT, publicKeys: [KEY] } as const;

/** What Nix must have understood. */
const EXPECTED = {
  substituters: [URL_TEXT],
  'trusted-public-keys': [KEY],
  'require-sigs': true,
  substitute: true,
  'connect-timeout': 3,
  'download-attempts': 3,
  fallback: true,
  'narinfo-cache-negative-ttl': 0,
} as const;

test('nix-conf is accepted by Nix without a warning, with and without flakes', async () => {
  for (const flakes of [false, true]) {
    await using nix = await createNixEnvironment();
    const configDirectory = nix.env['NIX_CONF_DIR'] ?? '';
    await writeFile(
      path.join(configDirectory, 'nix.conf'),
      formatClientConfig({ ...SHARED, format: 'nix-conf', flakes }),
    );
    const shown = await nix.run('nix', ['--extra-experimental-features', 'nix-command', 'show-config', '--json']);
    assert.equal(shown.stderr, '');
    assertUnderstood(shown.stdout);
  }
});

test('shell gives Nix the same settings when it is pasted, without a warning', async () => {
  await using nix = await createNixEnvironment();
  for (const flakes of [false, true]) {
    const script = `${formatClientConfig({ ...SHARED, format: 'shell', flakes })}
echo "$NIX_CURL_FLAGS" >&2
exec nix --extra-experimental-features nix-command show-config --json`;
    const shown = await nix.run('/bin/sh', ['-euc', script]);
    assert.equal(shown.stderr, '--connect-timeout 3 --retry 0\n');
    assertUnderstood(shown.stdout);
  }
});

test('nixos-install passes the settings on its command line as Nix reads them', async () => {
  await using nix = await createNixEnvironment();
  for (const flakes of [false, true]) {
    const script = `nixos-install() { nix --extra-experimental-features "nix-command flakes" show-config --json "$@"; }
${formatClientConfig({ ...SHARED, format: 'nixos-install', flakes })}`;
    const shown = await nix.run('bash', ['-euc', script]);
    assert.equal(shown.stderr, '');
    assertUnderstood(shown.stdout);
  }
});

test('nixos is a module that Nix parses and evaluates, and that forces the substituters', async () => {
  await using nix = await createNixEnvironment();
  for (const flakes of [false, true]) {
    const file = path.join(nix.directory, 'nixferry.nix');
    await writeFile(file, formatClientConfig({ ...SHARED, format: 'nixos', flakes }));
    await nix.run('nix-instantiate', ['--parse', file]);
    const expression = `import ${file} { lib.mkForce = content: { forced = content; }; }`;
    const args = ['--eval', '--strict', '--json', '--read-write-mode', '--expr', expression];
    const { nix: settings, systemd } = JSON.parse((await nix.run('nix-instantiate', args)).stdout);
    const { substituters, ...others } = settings.settings;
    assert.deepEqual(substituters, { forced: [URL_TEXT] });
    for (const [name, value] of Object.entries(EXPECTED)) {
      if (name !== 'substituters') assert.deepEqual(others[name], value, name);
    }
    assert.equal(systemd.services['nix-daemon'].environment.NIX_CURL_FLAGS, '--connect-timeout 3 --retry 0');
  }
});

test('the absent registry of a mirror that is a folder stops the look-up on the internet and leaves the own names, with flakes', async () => {
  await using nix = await createNixEnvironment({
    config: [formatClientConfig({ ...SHARED, url: 'file:///srv/mirror', format: 'nix-conf', flakes: true })],
  });
  const missing = await nix.run('nix', ['eval', 'nixpkgs#x'], { exitCode: 'any' });
  assert.match(missing.stderr, /cannot find flake 'flake:nixpkgs' in the flake registries/);
  await nix.run('nix', ['registry', 'add', 'mine', 'path:/somewhere']);
  assert.match((await nix.run('nix', ['registry', 'list'])).stdout, /^user\s+flake:mine path:\/somewhere$/m);
});

function assertUnderstood(json: string): void {
  const settings = JSON.parse(json) as Record<string, { readonly value: unknown }>;
  for (const [name, value] of Object.entries(EXPECTED)) assert.deepEqual(settings[name]?.value, value, name);
}
