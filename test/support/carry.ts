// The whole way of a closure, by the command line alone: export on the connected side, import and serve behind the air
// gap, and real Nix that installs from the served mirror. The journeys differ in what they carry and in which Nix installs.

import assert from 'node:assert/strict';
import path from 'node:path';
import { type AirGap, openAirGap } from './air-gap.ts';
import type { NixEnvironment } from './nix.ts';
import { nixferryCommand } from './nixferry.ts';
import type { RunningProcess, RunResult } from './run.ts';
import type { TestUpstream } from './upstream.ts';

/** A well-formed public key to which nobody has the secret. */
export const STRANGERS_KEY = `stranger-1:${Buffer.alloc(32, 1).toString('base64')}`;

const LISTEN = '127.0.0.1:8080';

export interface ExportOptions {
  /** The connected side. */
  readonly nix: NixEnvironment;
  readonly upstream: TestUpstream;
  /** Where the upstream is served. */
  readonly url: string;
  readonly site: string;
  /** A folder that holds the connected mirror, `mirror`, and the medium, `medium`. */
  readonly directory: string;
  readonly command?: string | undefined;
  /** Whether Nixferry itself goes along; it does not unless asked for. */
  readonly tools?: boolean | undefined;
}

export interface ExportRootOptions extends Omit<ExportOptions, 'upstream'> {
  /** Arguments that name what is exported. */
  readonly root: readonly string[];
  /** Of the upstream. */
  readonly publicKey: string;
  readonly flags?: readonly string[] | undefined;
}

export interface Medium {
  readonly directory: string;
  /** The connected mirror that it was packed from. */
  readonly mirror: string;
  /** The connected mirror's key, as `keys show` prints it. */
  readonly senderKey: string;
}

/** `nixferry export ROOT`: collects from the upstream and packs for the site. */
export function exportToMedium({ upstream, ...options }: ExportOptions): Promise<Medium> {
  return exportRootToMedium({ ...options, root: [upstream.root], publicKey: upstream.publicKey });
}

/** The same for whatever can be a root. */
export async function exportRootToMedium(options: ExportRootOptions): Promise<Medium> {
  const { nix, command = nixferryCommand, flags = [] } = options;
  const mirror = path.join(options.directory, 'mirror');
  const medium = path.join(options.directory, 'medium');
  const trust = ['--upstream', options.url, '--trusted-public-key', options.publicKey];
  const tools = options.tools === true ? [] : ['--no-tools'];
  await nix.run(
    command,
    [
      'export',
      ...options.root,
      ...trust,
      '--to',
      medium,
      '--site',
      options.site,
      '--mirror',
      mirror,
      ...tools,
      ...flags,
    ],
    { timeoutMs: 300_000 },
  );
  const keys = await nix.run(command, ['keys', 'show', '--mirror', mirror]);
  return { directory: medium, mirror, senderKey: publicKeyLine(keys) };
}

export interface Site extends AsyncDisposable {
  readonly gap: AirGap;
  /** The medium as it lies in the drive: read-only. */
  readonly inserted: string;
  readonly mirror: string;
  readonly url: string;
  /** What the site's clients trust, and nothing else. */
  readonly publicKey: string;
  readonly server: RunningProcess;
}

/** Opens an air gap with the medium in it, write-protected; imports it and serves the mirror to what is in the gap. */
export async function openSite(medium: Medium, command = nixferryCommand): Promise<Site> {
  const gap = await openAirGap();
  try {
    const inserted = await insertReadOnly(gap, medium.directory);
    const mirror = path.join(gap.directory, 'site-mirror');
    await gap.run(command, ['import', inserted, '--trust', medium.senderKey, '--mirror', mirror], {
      timeoutMs: 300_000,
    });
    const publicKey = publicKeyLine(await gap.run(command, ['keys', 'show', '--mirror', mirror]));
    const server = gap.start(command, ['serve', '--listen', LISTEN, '--mirror', mirror]);
    await server.waitForOutput(new RegExp(`http://${LISTEN.replaceAll('.', '\\.')}`));
    const url = `http://${LISTEN}`;
    return { gap, inserted, mirror, url, publicKey, server, [Symbol.asyncDispose]: gap[Symbol.asyncDispose] };
  } catch (error) {
    await gap[Symbol.asyncDispose]();
    throw error;
  }
}

/** Mounts a folder read-only in the gap, as a write-protected stick or a burnt disc would be; resolves to where. */
export async function insertReadOnly(gap: AirGap, directory: string): Promise<string> {
  const inserted = path.join(gap.directory, 'inserted-medium');
  await gap.run('mkdir', ['-p', inserted]);
  await gap.run('mount', ['--bind', directory, inserted]);
  await gap.run('mount', ['-o', 'remount,bind,ro', inserted]);
  const attempt = await gap.run('touch', [path.join(inserted, 'probe')], { exitCode: 'any' });
  assert.match(attempt.stderr, /read-only file system/i);
  return inserted;
}

/** Installs a path with `nix-store --realise` as a client that demands signatures and trusts one key. */
export function realise(
  client: NixEnvironment,
  storePath: string,
  from: { readonly url: string; readonly publicKey: string },
  exitCode: number | 'any' = 0,
): Promise<RunResult> {
  const settings = { substituters: from.url, 'trusted-public-keys': from.publicKey, 'require-sigs': 'true' };
  const options = Object.entries(settings).flatMap(([name, value]) => ['--option', name, value]);
  return client.run('nix-store', ['--realise', storePath, ...options], { exitCode, timeoutMs: 300_000 });
}

/** Fails unless the client, trusting a key that signed nothing, refuses the path and is left without it. */
export async function assertRefused(client: NixEnvironment, storePath: string, url: string): Promise<void> {
  const { exitCode, stderr } = await realise(client, storePath, { url, publicKey: STRANGERS_KEY }, 'any');
  assert.notEqual(exitCode, 0);
  assert.match(stderr, /not signed by any of the keys/);
  const valid = await client.run('nix-store', ['--check-validity', storePath], { exitCode: 'any' });
  assert.notEqual(valid.exitCode, 0);
}

/** Fails unless the client holds exactly the upstream's paths, whole, and file for file what was built. */
export async function assertInstalled(client: NixEnvironment, original: NixEnvironment, upstream: TestUpstream) {
  const installed = await client.lines('nix-store', ['--query', '--requisites', upstream.root]);
  assert.deepEqual(installed.toSorted(), upstream.paths.toSorted());
  await client.run('nix-store', ['--verify', '--check-contents'], { timeoutMs: 300_000 });
  const hashes = (nix: NixEnvironment) => nix.lines('nix-store', ['--query', '--hash', ...upstream.paths]);
  assert.deepEqual(await hashes(client), await hashes(original));
  const compareEach = 'for path; do diff --recursive --no-dereference "$ORIGINAL$path" "$CLIENT$path"; done';
  await original.run('/bin/sh', ['-euc', compareEach, 'sh', ...upstream.paths], {
    env: { ...original.env, ORIGINAL: original.physical('/'), CLIENT: client.physical('/') },
  });
  const program = path.join(upstream.root, 'bin', path.basename(upstream.root).slice(33));
  assert.equal((await client.run(program)).stdout, `${path.basename(program)}\n`);
}

/** The one `name:base64` line that `keys show` prints. */
export function publicKeyLine({ stdout }: RunResult): string {
  const lines = stdout.split('\n').filter((line) => /^[^\s:]+:[A-Za-z0-9+/]{43}=$/.test(line));
  assert.equal(lines.length, 1, `keys show prints one key alone on its line, not:\n${stdout}`);
  return lines[0] ?? '';
}
