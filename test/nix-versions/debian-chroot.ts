// Other versions of Nix, as other releases of Debian have them: small Debian systems below the user's cache folder, made
// once by debootstrap from the mirror that this machine's own apt uses.

import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { run, toolEnvironment } from '../support/run.ts';

/** debootstrap resolves no virtual packages, and Nix needs one that libdbi-perl provides. */
const PACKAGES = ['libdbi-perl', 'nix-bin', 'ca-certificates', 'curl', 'git'];
/** What is made anew when it lacks one of these was made before they were wanted. */
const PROGRAMS = ['usr/bin/nix', 'usr/bin/curl', 'usr/bin/git'];
const MAKING_TIMEOUT_MS = 15 * 60_000;

/** The root folder of a Debian `suite` with Nix in it. Rejects with what debootstrap said when it cannot be made. */
export async function debianChroot(suite: string): Promise<string> {
  const cache = process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache');
  const folder = path.join(cache, 'nixferry/chroots', suite);
  if (!PROGRAMS.every((program) => existsSync(path.join(folder, program)))) await makeChroot(suite, folder);
  return folder;
}

/** `2.26.3` */
export async function nixVersionIn(folder: string): Promise<string> {
  // Nix looks itself up in /proc; the mount is gone with the process.
  const { stdout } = await run(
    'unshare',
    ['--mount', '/bin/sh', '-euc', 'mount --rbind /proc "$0/proc"; exec chroot "$0" nix --version', folder],
    { env: toolEnvironment() },
  );
  return stdout.trim().split(' ').at(-1) ?? '';
}

async function makeChroot(suite: string, folder: string): Promise<void> {
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(path.dirname(folder), { recursive: true });
  const mirror = await debianMirror();
  // In a mount namespace of its own, so that nothing stays mounted however it ends.
  const { exitCode, stdout, stderr } = await run(
    'unshare',
    ['--mount', 'debootstrap', '--variant=minbase', `--include=${PACKAGES.join(',')}`, suite, partial, mirror],
    { timeoutMs: MAKING_TIMEOUT_MS, exitCode: 'any' },
  );
  // In sid the last packages sometimes cannot be configured although Nix is there and works: Nix itself tells.
  await nixVersionIn(partial).catch((cause: unknown) => {
    const why = `debootstrap ${suite} ended with exit code ${exitCode}\n${stdout.slice(-3000)}${stderr.slice(-3000)}`;
    throw new Error(`cannot make a Debian system with Nix in ${partial}: ${why}`, { cause });
  });
  await rm(path.join(partial, 'var/cache/apt/archives'), { recursive: true, force: true });
  await rm(folder, { recursive: true, force: true });
  await rename(partial, folder);
}

/** DEBIAN_MIRROR, or the first archive of the machine's own apt sources that is not for security updates. */
async function debianMirror(): Promise<string> {
  const own = process.env['DEBIAN_MIRROR'];
  if (own !== undefined) return own;
  const { stdout } = await run('apt-get', ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages']);
  const mirror = stdout.split('\n').find((url) => /\/debian\/?$/.test(url));
  if (mirror === undefined) {
    throw new Error('no Debian archive in the apt sources of this machine: give the address of one in DEBIAN_MIRROR');
  }
  return mirror;
}
