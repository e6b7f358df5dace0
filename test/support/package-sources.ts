// The internet of the tests' package set: what its sources are, where they lie, and with which hashes. Everything but the
// bootstrap executable (this machine's busybox) is the same bytes on every machine and at any time.

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { formatHash, type Hash, hashBytes } from '../../src/nix/hash.ts';
import { type FileTree, fileNarHash, narHashOf, narOf, tarballOf, writeTree } from './file-tree.ts';
import { run, toolEnvironment } from './run.ts';

/** What `pkgs/internet.json` of a set says of one source. */
export interface PackageSource {
  readonly version: string;
  /** On the internet's host, with a slash before it. */
  readonly path: string;
  /** SRI; of the NAR where the fixed output is no flat file. */
  readonly hash: string;
  /** nix32 and base16 of flat files. */
  readonly sha256?: string;
  readonly sha512?: string;
  readonly rev?: string;
  /** Of what the lock file names. */
  readonly vendorHash?: string;
}

export type PackageSources = Readonly<Record<string, PackageSource>>;

/** From Debian's busybox-static: the one program that the set does not make itself. */
const BUSYBOX = '/bin/busybox';

/** Packages that are names for applets of busybox. */
const APPLETS: Readonly<Record<string, readonly [version: string, applets: string]>> = {
  binutils: ['2.42', 'ar strings'],
  coreutils: [
    '9.5',
    'basename cat chgrp chmod chown cksum cp cut date dd df dirname du echo env expr false head id install link ln ls md5sum mkdir mkfifo mktemp mv nproc od paste printf pwd readlink realpath rm rmdir seq sha1sum sha256sum sha512sum sleep sort split stat sync tac tail tee test touch tr true truncate uname uniq unlink wc whoami yes',
  ],
  diffutils: ['3.10', 'cmp diff'],
  findutils: ['4.10', 'find xargs'],
  gawk: ['5.3', 'awk'],
  gnugrep: ['3.11', 'egrep fgrep grep'],
  gnused: ['4.9', 'sed'],
  gnutar: ['1.35', 'tar'],
  gzip: ['1.13', 'gunzip gzip zcat'],
  patch: ['2.7', 'patch'],
  xz: ['5.6', 'unxz xz xzcat'],
};

const CC = `output=
files=
while [ $# -gt 0 ]; do
    case $1 in
        -o) output=$2; shift ;;
        -I*) [ -d "\${1#-I}" ] ;;
        *) files="$files $1" ;;
    esac
    shift
done
{ printf '#!%s\\n' "$SHELL"; cat $files; } > "$output"
chmod +x "$output"
`;
const MAKE = 'exec sh ./Makefile "$@"\n';

/** Packages that bring a header and a library. */
const LIBRARIES: Readonly<Record<string, string>> = {
  expat: '2.6',
  glibc: '2.40',
  kmod: '33',
  libcap: '2.70',
  ncurses: '6.5',
  openssl: '3.3',
  pcre2: '10.44',
  readline: '8.2',
  systemd: '256',
  tmux: '3.5',
  'util-linux': '2.40',
  zlib: '1.3',
  zstd: '1.5',
};

const PROGRAMS: Readonly<Record<string, string>> = {
  cowsay: '3.8',
  cpio: '2.15',
  cron: '4.1',
  docbook: '5.1',
  grub2: '2.12',
  gum: '0.14',
  hello: '2.12',
  htop: '3.3',
  jq: '1.7',
  less: '661',
  linux: '6.6.1',
  lndir: '1.0',
  'man-db': '2.12',
  mypy: '1.11',
  nano: '8.2',
  nginx: '1.26',
  nix: '2.24',
  openssh: '9.9',
  perl: '5.40',
  python3: '3.12',
  ripgrep: '14.1',
  shadow: '4.16',
  shellcheck: '0.10',
  sudo: '1.9',
  tree: '2.1',
  tzdata: '2024',
};

const KERNEL_MODULES =
  'af_packet ahci ata_piix autofs4 bonding br_netfilter bridge btrfs cdc_ether cifs dm_crypt dm_mod dm_snapshot dm_thin_pool dummy e1000e efivarfs ehci_pci ext4 fuse hid_generic i915 igb iso9660 jfs kvm kvm-amd kvm-intel loop macvlan md_mod mmc_block nbd nf_conntrack nfs ntfs3 nvme overlay r8169 raid0 raid1 sd_mod sdhci_pci snd_hda_intel sr_mod squashfs tap tcp_bbr thunderbolt tpm_tis tun uas uinput usb_storage usbhid uvcvideo v4l2loopback veth vfat vfio_pci vhost_net virtio_balloon virtio_blk virtio_net virtio_pci virtio_scsi vxlan wireguard xfs xhci_pci zram';

const LOCALES =
  'C.UTF-8 cs_CZ.UTF-8 da_DK.UTF-8 de_AT.UTF-8 de_CH.UTF-8 de_DE.UTF-8 el_GR.UTF-8 en_GB.UTF-8 en_US.UTF-8 es_ES.UTF-8 fi_FI.UTF-8 fr_CH.UTF-8 fr_FR.UTF-8 it_IT.UTF-8 ja_JP.UTF-8 nb_NO.UTF-8 nl_NL.UTF-8 pl_PL.UTF-8 pt_BR.UTF-8 pt_PT.UTF-8 ru_RU.UTF-8 sv_SE.UTF-8 tr_TR.UTF-8 uk_UA.UTF-8 zh_CN.UTF-8';

/** Files of single packages, over those that every package has. */
const EXTRA: Readonly<Record<string, FileTree>> = {
  glibc: {
    'share/i18n/SUPPORTED': LOCALES.split(' ')
      .map((locale) => `${locale} UTF-8\n`)
      .join(''),
  },
  gum: { 'go.sum': '' },
  hello: { Makefile: 'echo "Hello, world!" > greeting\n' },
  linux: {
    bzImage: 'a kernel\n',
    'include/linux.h': '#define LINUX 6\n',
    modules: KERNEL_MODULES.split(' ')
      .map((name) => `${name}\n`)
      .join(''),
  },
  systemd: { 'lib/systemd/boot/efi/systemd-bootx64.efi': 'a boot loader\n' },
  tzdata: { 'share/zoneinfo/UTC': 'TZif\n', 'share/zoneinfo/Europe/Berlin': 'TZif CET\n' },
};

/** Turns manual pages into completions; in the language of the set's python3. */
const COMPLETION_GENERATOR = `FNR == 1 { name = FILENAME; sub(/^.*\\//, "", name); sub(/\\.[0-9]$/, "", name) }
/^--/ { print "complete -c " name " -l " substr($1, 3) }
`;

/** Fills the folder with all that the internet has and resolves to what the set must know of it. */
export async function writePackageSources(directory: string): Promise<PackageSources> {
  const sources: Record<string, PackageSource> = {};
  const put = async (name: string, bytes: Buffer | string): Promise<Buffer> => {
    const file = path.join(directory, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, bytes);
    return Buffer.from(bytes);
  };
  const putArchive = async (pname: string, version: string, tree: FileTree, folder = 'src'): Promise<void> => {
    const place = `/${folder}/${pname}-${version}.tar.gz`;
    sources[pname] = {
      version,
      path: place,
      ...flatHashes(await put(place, await tarballOf(tree, `${pname}-${version}`))),
    };
  };

  const busybox = await readFile(BUSYBOX);
  await put('/stdenv/busybox', busybox);
  sources['busybox'] = { version: '0', path: '/stdenv/busybox', hash: sri(await fileNarHash(busybox)) };
  const bootstrapTools: FileTree = { 'bin/busybox': busybox, 'libexec/cc': CC, 'libexec/make': MAKE };
  await put('/stdenv/bootstrap-tools.nar', await narOf(bootstrapTools));
  await run('xz', ['-1', path.join(directory, 'stdenv/bootstrap-tools.nar')]);
  sources['bootstrap-tools'] = {
    version: '0',
    path: '/stdenv/bootstrap-tools.nar.xz',
    hash: sri(await narHashOf(bootstrapTools)),
  };

  for (const [pname, [version, applets]] of Object.entries(APPLETS)) {
    await putArchive(pname, version, { applets: `${applets.replaceAll(' ', '\n')}\n` });
  }
  await putArchive('bash', '5.2', { README: 'a shell\n' });
  await putArchive('gcc', '13.3', { 'tools/cc': CC });
  await putArchive('gnumake', '4.4', { 'tools/make': MAKE });
  await putArchive('patchelf', '0.15', { 'tools/patchelf': 'exit 0\n' });

  for (const [pname, version] of Object.entries({ ...PROGRAMS, ...LIBRARIES })) {
    const isLibrary = pname in LIBRARIES;
    const vendored = pname === 'ripgrep' || pname === 'gum' ? await putVendored(pname, put) : undefined;
    const tree = { ...programTree(pname, version, isLibrary), ...EXTRA[pname], ...vendored?.lockFile };
    await putArchive(pname, version, tree, pname === 'openssl' ? 'gnu/openssl' : 'src');
    const source = sources[pname];
    if (vendored !== undefined && source !== undefined) sources[pname] = { ...source, vendorHash: vendored.hash };
  }

  await putFish(sources, put);
  sources['tldr'] = await putRepository(directory, 'tldr', programTree('tldr', '3.3', false));
  return sources;
}

function programTree(pname: string, version: string, isLibrary: boolean): FileTree {
  return {
    configure: '#!/bin/sh\nfor tool in cc sed make; do command -v "$tool" > /dev/null; done\n',
    [`src/${pname}`]: `echo ${pname} ${version}\n`,
    [`man/man1/${pname}.1`]: `.TH ${pname}\n--help\n--version\n`,
    ...(isLibrary
      ? { [`include/${pname}.h`]: `#define VERSION "${version}"\n`, [`lib/lib${pname}.so`]: filler(pname, 20_000) }
      : { [`share/${pname}/data`]: filler(pname, 5000) }),
  };
}

type Put = (name: string, bytes: Buffer | string) => Promise<Buffer>;

/** A GitHub archive, unpacked by the fetcher, and a patch of which each download has another date. */
async function putFish(sources: Record<string, PackageSource>, put: Put): Promise<void> {
  const version = '3.7';
  const tree: FileTree = {
    ...programTree('fish', version, false),
    'share/tools/create_manpage_completions.py': COMPLETION_GENERATOR,
    'share/tools/version': `${version}\n`,
  };
  const archive = `/fish-shell/fish-shell/archive/${version}.tar.gz`;
  await put(archive, await tarballOf(tree, `fish-shell-${version}`));
  sources['fish'] = { version, path: archive, hash: sri(await narHashOf(tree)) };

  const place = 'share/tools/version';
  const patch = `--- a/${place}\n+++ b/${place}\n@@ -1 +1 @@\n-${version}\n+${version} patched\n`;
  await put('/patches/fish-completions.patch', `Date: Mon, 1 Jan 2024\nindex 111..222 100644\n${patch}`);
  const file = { version, path: '/patches/fish-completions.patch', ...flatHashes(Buffer.from(patch)) };
  sources['fish-completions.patch'] = file;
}

/** Two dependencies, a lock file that names them with their hashes, and the hash of the folder that holds both unpacked. */
async function putVendored(pname: string, put: Put): Promise<{ lockFile: FileTree; hash: string }> {
  const [registry, lockName, names] =
    pname === 'ripgrep'
      ? (['crates', 'Cargo.lock', ['memchr', 'regex']] as const)
      : (['go', 'go.sum', ['cobra', 'lipgloss']] as const);
  let lock = '';
  const vendor: Record<string, string | Buffer> = {};
  for (const name of names) {
    const tree: FileTree = { code: `library ${name}\n` };
    const bytes = await put(`/${registry}/${name}/1.0/download`, await tarballOf(tree, `${name}-1.0`));
    lock += `${name} 1.0 ${formatHash(hashBytes('sha256', bytes), 'base16', { prefix: false })}\n`;
    for (const [file, text] of Object.entries(tree)) vendor[`${name}-1.0/${file}`] = text;
  }
  return { lockFile: { [lockName]: lock }, hash: sri(await narHashOf(vendor)) };
}

/** A bare repository with one commit that is the same everywhere. */
export async function putRepository(directory: string, name: string, tree: FileTree): Promise<PackageSource> {
  const repository = path.join(directory, 'git', `${name}.git`);
  const checkout = `${repository}.checkout`;
  await rm(repository, { recursive: true, force: true });
  await writeTree(checkout, tree);
  const who = { NAME: 'Nobody', EMAIL: 'nobody@example.org', DATE: '2024-01-01T00:00:00Z' };
  const env = toolEnvironment({
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_SYSTEM: '/dev/null',
    ...Object.fromEntries(
      Object.entries(who).flatMap(([key, value]) => [
        [`GIT_AUTHOR_${key}`, value],
        [`GIT_COMMITTER_${key}`, value],
      ]),
    ),
  });
  const git = (...args: string[]) => run('git', args, { cwd: checkout, env });
  await git('init', '--quiet', '--initial-branch=main');
  await git('add', '--all');
  await git('commit', '--quiet', '--message', `${name} 3.3`);
  const rev = (await git('rev-parse', 'HEAD')).stdout.trim();
  await git('clone', '--quiet', '--bare', checkout, repository);
  await rm(checkout, { recursive: true, force: true });
  return { version: '3.3', path: `/git/${name}.git`, rev, hash: sri(await narHashOf(tree)) };
}

function flatHashes(bytes: Buffer) {
  return {
    hash: sri(hashBytes('sha256', bytes)),
    sha256: formatHash(hashBytes('sha256', bytes), 'nix32', { prefix: false }),
    sha512: formatHash(hashBytes('sha512', bytes), 'base16', { prefix: false }),
  };
}

function sri(hash: Hash): string {
  return formatHash(hash, 'sri');
}

/** Text that does not shrink to nothing when it is packed, and is the same each time. */
function filler(seed: string, sizeBytes: number): string {
  let text = '';
  for (let line = 0; text.length < sizeBytes; line++) {
    text += `${hashBytes('sha256', Buffer.from(`${seed} ${line}`))}\n`;
  }
  return text;
}
