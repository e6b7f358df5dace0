// Makes sure that the programs that the tests and the quickstart call are there: installs them on Debian and Ubuntu when
// root, otherwise names the command and stops. Nothing is skipped because something is missing.
// Arguments: further programs that are wanted (`debootstrap`, `chromium`), and `root` where namespaces will be opened.

import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const EXIT_USAGE = 2;

/** Program (or file) → the Debian package that has it. */
const ALWAYS: Readonly<Record<string, string>> = {
  nix: 'nix-bin',
  'nix-store': 'nix-bin',
  xz: 'xz-utils',
  zstd: 'zstd',
  bzip2: 'bzip2',
  gzip: 'gzip',
  brotli: 'brotli',
  tar: 'tar',
  curl: 'curl',
  git: 'git',
  openssl: 'openssl',
  '/bin/busybox': 'busybox-static',
  nginx: 'nginx-light',
  ip: 'iproute2',
  unshare: 'util-linux',
  nsenter: 'util-linux',
  mount: 'mount',
  genisoimage: 'genisoimage',
  faketime: 'faketime',
  ps: 'procps',
  perl: 'perl-base',
  'systemd-notify': 'systemd',
  patchelf: 'patchelf',
  setpriv: 'util-linux',
  '/etc/ssl/certs/ca-certificates.crt': 'ca-certificates',
};

const ON_REQUEST: Readonly<Record<string, string>> = {
  debootstrap: 'debootstrap',
  chromium: 'chromium',
  caddy: 'caddy',
  wrk: 'wrk',
  '/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf': 'fonts-dejavu-core',
};

/** Debian's way to say "install, but start no service": https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt */
const POLICY_FILE = '/usr/sbin/policy-rc.d';
const POLICY_NO_SERVICES =
  '#!/bin/sh\n# Put here for one apt-get run by a script of Nixferry; may be deleted.\nexit 101\n';

class Stop extends Error {}

const wanted: Record<string, string> = { ...ALWAYS };
try {
  for (const name of process.argv.slice(2)) {
    if (name === 'root') continue;
    const debianPackage = ON_REQUEST[name];
    if (debianPackage === undefined) stop(`nothing is known about the program ${name}`);
    wanted[name] = debianPackage;
  }
  const missing = Object.keys(wanted).filter((program) => !isThere(program));
  if (missing.length > 0) install(missing);
  if (process.argv.includes('root') && process.getuid?.() !== 0) stopWithoutRoot();
} catch (error) {
  if (!(error instanceof Stop)) throw error;
  process.stderr.write(`prerequisites: ${error.message}\n`);
  process.exitCode = EXIT_USAGE;
}

function install(programs: readonly string[]): void {
  const packages = [...new Set(programs.map((program) => wanted[program] ?? program))].sort();
  const command = `apt-get update && apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  const what = `missing on this machine: ${programs.join(', ')}`;
  if (!isThere('apt-get')) stop(`${what}\n  → install what your system calls ${packages.join(', ')}`);
  if (process.getuid?.() !== 0) stop(`${what}\n  → sudo sh -c '${command}'`);

  process.stderr.write(`prerequisites: ${what}; installing ${packages.join(', ')}\n`);
  const putPolicy = !existsSync(POLICY_FILE);
  if (putPolicy) writeFileSync(POLICY_FILE, POLICY_NO_SERVICES, { mode: 0o755 });
  try {
    apt('update');
    apt('install', '-y', '--no-install-recommends', ...packages);
  } finally {
    if (putPolicy) rmSync(POLICY_FILE, { force: true });
  }
  // The tests start their own nginx; none shall come up with the machine because of them.
  if (programs.includes('nginx') && isThere('systemctl')) spawnSync('systemctl', ['--quiet', 'disable', 'nginx']);

  const still = programs.filter((program) => !isThere(program));
  if (still.length > 0) stop(`apt-get ran, but these are still missing: ${still.join(', ')}`);
}

/** Only root may open the namespaces without internet in which real Nix runs. */
function stopWithoutRoot(): never {
  const script = process.env['npm_lifecycle_event'];
  const command = script === undefined || script === 'test' ? 'npm test' : `npm run ${script}`;
  stop(
    `this needs root, to take the network away from the isolated side and put a store of its own there\n  → sudo ${command}`,
  );
}

/** Runs apt-get with its output shown only when it fails. */
function apt(...args: readonly string[]): void {
  const result = spawnSync('apt-get', ['-q', ...args], {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (result.status !== 0) {
    stop(
      `apt-get ${args.join(' ')} failed\n${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`,
    );
  }
}

function isThere(program: string): boolean {
  const folders = program.startsWith('/')
    ? ['']
    : [...(process.env['PATH'] ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  return folders.some((folder) => {
    try {
      accessSync(path.join(folder, program), program.startsWith('/') ? constants.R_OK : constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function stop(message: string): never {
  throw new Stop(message);
}
