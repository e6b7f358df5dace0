/** What `enter` must know of the Nix that it starts. */
export interface EnterScriptOptions {
  /** The folder that holds the script, `bin/` and the store. */
  readonly folder: string;
  /** In it: what is seen as `/`, as far as /nix goes. */
  readonly storeRoot: string;
  /** `/nix/store/HASH-nix-2.31.2` */
  readonly storePath: string;
  /** For systems without namespaces; undefined where the Nix has no loader of its own. */
  readonly loader: NixLoader | undefined;
}

/** How the programs of a Nix start although /nix is not where they look: through their loader, with all libraries named. All names as on disk. */
export interface NixLoader {
  readonly loader: string;
  readonly libraryFolders: readonly string[];
  /** `bin/nix` itself, not a link to it. */
  readonly program: string;
}

/**
 * A script that runs a command where the store in the folder lies under /nix: in a mount namespace (as root), else in a user namespace of its own.
 * Nothing is mounted for anybody else, and nothing is left when the command ends. Where no namespace can be had, Nix's own
 * programs still start, through their loader, with the folder as a store of its own.
 */
export function formatEnterScript({ folder, storeRoot, storePath, loader }: EnterScriptOptions): string {
  return `#!/bin/sh
# Made by nixferry get-nix: runs a command where the Nix in this folder lies under /nix. Nothing is installed.
#   enter nix --version
set -u
root=${quote(storeRoot)}
stage=${quote(`${folder}/stage`)}
nix=${quote(storePath)}
loader=${quote(loader?.loader ?? '')}
libraries=${quote(loader?.libraryFolders.join(':') ?? '')}
program=${quote(loader?.program ?? '')}
${BODY}`;
}

/** A script that runs one of Nix's programs by its name. */
export function formatProgramScript(folder: string, name: string): string {
  return `#!/bin/sh
exec ${quote(`${folder}/enter`)} ${quote(name)} "$@"
`;
}

// An installed Nix may have said where its store and its daemon are; that is of no use to this one. Paths of this store belong to whoever
// made the folder, so there are no users for builds. Certificates: Nix looks for them in two places only.
const BODY = `
unset NIX_REMOTE NIX_STORE NIX_STORE_DIR NIX_STATE_DIR NIX_LOG_DIR NIX_DATA_DIR NIX_LIBEXEC_DIR NIX_BIN_DIR
unset NIX_LOCALSTATE_DIR NIX_DAEMON_SOCKET_PATH
NIX_CONFIG="build-users-group =
\${NIX_CONFIG:-}"
export NIX_CONFIG
if [ -z "\${NIX_SSL_CERT_FILE:-}\${SSL_CERT_FILE:-}" ]; then
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
    [ -f "$file" ] || continue
    export NIX_SSL_CERT_FILE="$file"
    break
  done
fi
given=$PATH
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin

# What is mounted in a namespace is seen by its processes alone, and goes with the last of them.
inside='
root=$1 stage=$2
shift 2
if [ -d /nix ]; then
  mount --rbind "$root/nix" /nix
  exec "$@"
fi
# There is no /nix to mount it on, and none is made: a root that has one is put together from the parts of this one.
here=$(pwd)
mount -t tmpfs nixferry "$stage"
for entry in /* /.[!.]*; do
  seen=$stage$entry
  if [ -h "$entry" ]; then
    ln -s "$(readlink "$entry")" "$seen"
  elif [ -d "$entry" ]; then
    mkdir "$seen"
    mount --rbind "$entry" "$seen" 2>/dev/null || :
  elif [ -e "$entry" ]; then
    : >"$seen"
    mount --bind "$entry" "$seen" 2>/dev/null || :
  fi
done
mkdir "$stage/nix"
mount --rbind "$root/nix" "$stage/nix"
exec chroot "$stage" /bin/sh -euc "cd \\"\\$0\\" && exec \\"\\$@\\"" "$here" "$@"
'

for as in '' '--user --map-root-user'; do
  # shellcheck disable=SC2086 # as is a list of words
  unshare $as --mount mount --bind "$root/nix" "$root/nix" 2>/dev/null || continue
  # shellcheck disable=SC2086
  exec unshare $as --mount /bin/sh -euc "$inside" sh "$root" "$stage" env PATH="$nix/bin:$given" "$@"
done

case \${1:-} in
  nix | nix-*)
    if [ -n "$program" ]; then
      name=$1
      shift
      NIX_REMOTE=$root
      export NIX_REMOTE
      PATH=$given
      exec "$loader" --argv0 "$name" --inhibit-cache --library-path "$libraries" "$program" "$@"
    fi
    ;;
esac
printf '%s\\n' "nixferry: this system allows no namespaces to $(id -un 2>/dev/null || echo this user), in which $nix could be seen" \\
  '  next: be root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)' >&2
exit 2
`;

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
