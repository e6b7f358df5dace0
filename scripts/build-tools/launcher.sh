#!/bin/sh
# Starts the Nixferry that lies beside this file:  sh /path/to/tools/nixferry --help
# It needs nothing of the system but this shell: no Node, no Nix, no /lib64, no PATH. Only where programs cannot be started from
# the medium (mounted noexec, or without marks for what is a program) are cp and chmod wanted, for a copy that is used once.

set -u

fail() {
  printf 'nixferry: %s\n  next: %s\n' "$1" "$2" >&2
  exit 2
}

# Programs of the system, also where the PATH is empty.
system() (
  PATH=${PATH:+$PATH:}/run/current-system/sw/bin:/usr/bin:/bin:/usr/sbin:/sbin
  "$@"
)

machine() {
  case $(system uname -m 2>/dev/null) in
    x86_64) echo x64 ;;
    aarch64) echo arm64 ;;
    '')
      # No uname: the kernel tells as well, and a shell can read.
      while read -r field _; do
        case $field in
          vendor_id) echo x64 && return ;;
          CPU) echo arm64 && return ;;
        esac
      done </proc/cpuinfo
      ;;
  esac 2>/dev/null
}

# What the loader takes for a separator, or for a name to be replaced, in a path.
is_plain() {
  case $1 in *[:\;$]*) return 1 ;; esac
}

# Programs may be started from $1: the file system allows it, and the file is marked where that counts.
can_start() {
  is_plain "$1" && [ -x "$1/ld.so" ]
}

copy_for_this_run() {
  for parent in "${TMPDIR:-/tmp}" /tmp /var/tmp /dev/shm "${XDG_RUNTIME_DIR:-/tmp}" "${HOME:-/tmp}"; do
    copy=$parent/nixferry-run-$$
    is_plain "$copy" && (umask 077 && system mkdir "$copy") 2>/dev/null || continue
    if system cp "$1/ld.so" "$copy/" 2>/dev/null && system chmod 700 "$copy/ld.so" && can_start "$copy" &&
      system cp "$1"/* "$copy/" 2>/dev/null && system chmod -R u+rwX "$copy"; then
      return 0
    fi
    system rm -rf "$copy"
  done
  return 1
}

tools=.
case $0 in */*) tools=${0%/*} ;; esac
if [ -h "$0" ]; then
  link=$(system readlink -f "$0") && tools=${link%/*}
fi

machine=$(machine)
if [ -z "$machine" ]; then
  # Neither a PATH nor /proc: there is no choice if the medium is for one kind of machine only.
  for kind in x64 arm64; do
    [ ! -f "$tools/$kind/ld.so" ] || machine=$machine$kind
  done
fi
folder=$tools/${machine:-unknown}
[ -f "$folder/ld.so" ] ||
  fail "there is no Nixferry for this machine (${machine:-neither x86_64 nor aarch64}) in $tools" \
    'start it by the path of this file, on a machine that it was made for, or install Nixferry'

# A copy on a disk that came from FAT32 has lost the marks; the medium itself is never written to.
if ! can_start "$folder" && [ ! -f "$tools/../manifest.json" ]; then
  system chmod u+x "$folder/ld.so" 2>/dev/null
fi
if ! can_start "$folder"; then
  copy_for_this_run "$folder" ||
    fail "programs cannot be started from $folder, and no folder was found to copy it to" \
      "copy $tools to a disk (140 MB) that allows it, and start the nixferry in there"
  NIXFERRY_COPY_FOR_THIS_RUN=$copy
  export NIXFERRY_COPY_FOR_THIS_RUN
  folder=$copy
fi

# So that it can say what to type next; whoever found it on the PATH types its name alone.
case ":${PATH:-}:" in
  *":${0%/*}:"*) unset NIXFERRY_STARTED_AS ;;
  *) NIXFERRY_STARTED_AS=$0 && export NIXFERRY_STARTED_AS ;;
esac

# Meant for the system's own libraries.
unset LD_PRELOAD LD_AUDIT
exec "$folder/ld.so" --inhibit-cache --library-path "$folder" "$folder/nixferry" "$@"
