import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { NixferryError } from '../base/errors.ts';
import { createHttpClient, type HttpClient } from '../base/http-client.ts';
import { chooseNix } from './choose-nix.ts';

const X86 = `/nix/store/${'1'.repeat(32)}-nix-2.31.2`;
const ARM = `/nix/store/${'2'.repeat(32)}-nix-2.31.2`;
let folder: string;
let http: HttpClient;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nixferry-choose-'));
  http = createHttpClient({});
  await mkdir(join(folder, 'nix-2.31.2'));
  await mkdir(join(folder, 'nixos-26.05'));
  await writeFile(
    join(folder, 'nix-2.31.2/fallback-paths.nix'),
    `{\n  x86_64-linux = "${X86}";\n  aarch64-linux = "${ARM}";\n}\n`,
  );
  const others = ['nix-2.31.2-man', 'nix-2.4', 'nix-2.33pre20251107_479b6b73', 'nix-index-0.1.9'];
  const paths = [ARM, X86, ...others.map((name) => `/nix/store/${'3'.repeat(32)}-${name}`)];
  await writeFile(join(folder, 'nixos-26.05/store-paths.xz'), `${paths.join('\n')}\n`);
});
after(async () => {
  await http[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

function choose(which: string, system = 'x86_64-linux'): Promise<string> {
  const base = `file://${folder}`;
  return chooseNix(which, {
    http,
    storeDir: '/nix/store',
    system,
    releasesBase: `${base}/`,
    channelsBase: base,
    systemOf: async (path) => (path === ARM ? 'aarch64-linux' : 'x86_64-linux'),
    signal: new AbortController().signal,
  });
}

test('chooseNix takes the path of the machine when a release, an address or a file states several', async () => {
  assert.equal(await choose('2.31.2'), X86);
  assert.equal(await choose('2.31.2', 'aarch64-linux'), ARM);
  assert.equal(await choose(`file://${folder}/nix-2.31.2/fallback-paths.nix`), X86);
  assert.equal(await choose(join(folder, 'nix-2.31.2/fallback-paths.nix'), 'aarch64-linux'), ARM);
  assert.equal(await choose(ARM), ARM);
});

test('chooseNix takes the newest release of a channel, and asks for the machine where there are several', async () => {
  assert.equal(await choose('channel:nixos-26.05'), X86);
  assert.equal(await choose('channel:nixos-26.05', 'aarch64-linux'), ARM);
  await assert.rejects(choose('channel:nixos-26.05', 'riscv64-linux'), isBadRoot(/names no Nix for riscv64-linux/));
});

test('chooseNix refuses what names no Nix, and says what would', async () => {
  await assert.rejects(choose('nixpkgs#nix'), isBadRoot(/'nixpkgs#nix' names no Nix/));
  await assert.rejects(choose('2.99.0'), isBadRoot(/there is no file:.*nix-2\.99\.0/));
  await assert.rejects(choose('2.31.2', 'riscv64-linux'), isBadRoot(/names no Nix for riscv64-linux/));
  await writeFile(join(folder, 'evil.nix'), '{\n  x86_64-linux = "/etc/passwd";\n}\n');
  await assert.rejects(choose(join(folder, 'evil.nix')), isBadRoot(/evil\.nix: /));
});

function isBadRoot(message: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof NixferryError && error.code === 'bad-root' && message.test(error.message);
}
