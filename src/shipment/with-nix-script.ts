import { INSTALLER_FILE, TOOLS_FOLDER } from './format.ts';
import { TOOLS_LAUNCHER } from './tools.ts';

/**
 * The script on the medium that installs Nix on a Linux without one, without network. It wants a shell, mkdir and chmod, and the Nixferry beside
 * it: that one checks the signature and every hash, and unpacks; the script then does, in the open, what changes the system. May be
 * repeated. What it must not do is in its text, for whoever reads it before he types it.
 */
export function formatInstaller(): Buffer {
  return Buffer.from(
    SCRIPT.replaceAll('@NAME@', INSTALLER_FILE).replaceAll('@TOOLS@', `${TOOLS_FOLDER}/${TOOLS_LAUNCHER}`),
  );
}

const SCRIPT = `#!/bin/sh
# Installs the Nix that this medium carries onto a Linux that has none. It needs no network.
#
#   sh @NAME@ --trust KEY --url http://ferry:8080 --public-key KEY
#
# It touches: /nix, which must be empty or made by this script; /etc/nix/nixferry.conf, and a line in /etc/nix/nix.conf
# that includes it; /etc/profile.d/nixferry-nix.sh; and, where systemd runs, the group nixbld with its users and the units
# nix-daemon.socket and nix-daemon.service. Nothing is overwritten that it has not made. It may be repeated.

set -eu
umask 022

usage() {
  printf '%s\\n' \\
    'sh @NAME@ [options] [folders of further volumes or discs]' \\
    '  --trust KEY        key of the sender, name:base64, taken over by another way than the medium' \\
    '  --url URL          where this machine will fetch from, such as http://ferry:8080' \\
    '  --public-key KEY   key that signs what is there: nixferry keys show, on the serving machine' \\
    '  --mirror DIR       a mirror on this machine: gives both of the above, and knows the sender' \\
    '  --multi-user       with a daemon, for all users (default where systemd runs)' \\
    '  --single-user      for root alone (default elsewhere)' \\
    '  --nixferry FILE    the Nixferry to use (default: the one on this medium)'
}

say() {
  printf '%s\\n' "$*"
}

fail() {
  printf '@NAME@: %s\\n  next: %s\\n' "$1" "$2" >&2
  exit 2
}

# Programs of the system, also where the PATH is short.
system() (
  PATH=\${PATH:+$PATH:}/usr/sbin:/usr/bin:/sbin:/bin
  "$@"
)

has() {
  (
    PATH=\${PATH:+$PATH:}/usr/sbin:/usr/bin:/sbin:/bin
    command -v "$1"
  ) >/dev/null 2>&1
}

# Whether a file has a line that begins with $2.
has_line() {
  [ -f "$1" ] || return 1
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in "$2"*) return 0 ;; esac
  done <"$1"
  return 1
}

# As one word for a shell.
quoted() {
  case $1 in
    *"'"*) printf '"%s"' "$1" ;;
    '' | *[!A-Za-z0-9_@%+=:,./-]*) printf "'%s'" "$1" ;;
    *) printf '%s' "$1" ;;
  esac
}

here=.
case $0 in */*) here=\${0%/*} ;; esac
trust= url= public_key= mirror= mode= program=
# What is to be typed again, as it was typed.
again="sh $(quoted "$0")"

wants_value() {
  [ $# -ge 2 ] && [ -n "$2" ] || fail "$1 wants a value" "sh @NAME@ --help lists the options"
}

while [ $# -gt 0 ]; do
  case $1 in
    --trust) wants_value "$@"; trust=$2; again="$again $1 $(quoted "$2")"; shift ;;
    --url) wants_value "$@"; url=$2; shift ;;
    --public-key) wants_value "$@"; public_key=$2; shift ;;
    --mirror) wants_value "$@"; mirror=$2; shift ;;
    --nixferry) wants_value "$@"; program=$2; again="$again $1 $(quoted "$2")"; shift ;;
    --multi-user) mode=multi; again="$again $1" ;;
    --single-user) mode=single; again="$again $1" ;;
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
    -*) fail "there is no option $1" "sh @NAME@ --help lists the options" ;;
    *) break ;;
  esac
  shift
done

if [ -z "$program" ]; then
  for program in "$here/@TOOLS@" /opt/nixferry/nixferry ''; do
    [ -f "$program" ] && break
  done
fi
if [ -n "$program" ]; then
  nixferry() { /bin/sh "$program" "$@"; }
elif has nixferry; then
  nixferry() { system nixferry "$@"; }
else
  fail "there is no Nixferry on this medium" "name one with --nixferry FILE, such as tools/nixferry of an earlier shipment"
fi

if [ -z "$mode" ]; then
  mode=single
  if [ -d /run/systemd/system ] && has systemctl; then mode=multi; fi
fi
if [ -z "$mirror" ] && [ -f /var/lib/nixferry/nix-cache-info ]; then mirror=/var/lib/nixferry; fi
if [ -n "$url" ] && [ -z "$public_key" ]; then
  fail "--url wants --public-key" "type nixferry keys show on the machine that serves, and give its answer with --public-key"
fi
[ -h /proc/self ] || fail "/proc is not mounted, and Nix needs it" "mount -t proc proc /proc, then type the same command again"
[ -w / ] || [ -w /nix ] || fail "this user may not write to /" "type it again as root"

# Nothing that an installed Nix was told shall mislead the new one; and it must not look for a network.
unset NIX_REMOTE NIX_STORE_DIR NIX_STATE_DIR NIX_CONF_DIR NIX_PATH
NIX_CONFIG='build-users-group =
substituters =
sandbox = false'
HOME=\${HOME:-/root} USER=\${USER:-root}
export NIX_CONFIG HOME USER

say "1. check the Nix on this medium, and unpack it into /nix/store"
nix=$(nixferry unpack-nix "$here" "$@" --to / --quiet \${trust:+--trust "$trust"} \${mirror:+--mirror "$mirror"}) || exit $?
say "   $nix"

say "2. tell Nix's own database of it"
"$nix/bin/nix-store" --load-db </nix/.nixferry/registration
"$nix/bin/nix-store" --verify-path $("$nix/bin/nix-store" --query --requisites "$nix")

profile=/nix/var/nix/profiles/default
say "3. put it into the profile $profile"
case $("$nix/bin/nix-env" --profile "$profile" --query --out-path --no-name) in
  *"$nix"*) say "   it is there" ;;
  *) "$nix/bin/nix-env" --quiet --profile "$profile" --install "$nix" ;;
esac
[ -x "$profile/bin/nix" ] || fail "$profile holds no Nix" "look at the messages above; the same command goes on from there"

settings=/etc/nix/nixferry.conf
say "4. write $settings"
if [ -n "$url" ]; then
  config=$(nixferry client-config --format nix-conf --url "$url" --public-key "$public_key" --quiet) || exit $?
elif [ -n "$mirror" ]; then
  config=$(nixferry client-config --format nix-conf --url "file://$mirror" --mirror "$mirror" --quiet) || exit $?
elif [ -f "$settings" ]; then
  # Said before, and not again: it stays.
  config=$(
    while IFS= read -r line; do
      case $line in '# Made by @NAME@'* | build-users-group*) ;; *) say "$line" ;; esac
    done <"$settings"
  )
else
  config='# No mirror was named, and this machine is without internet.
substituters ='
fi
users=
if [ $mode = multi ]; then users=' nixbld'; fi
system mkdir -p /etc/nix
{
  say "# Made by @NAME@. Settings of your own belong into nix.conf, below the line that includes this file."
  say "build-users-group =$users"
  say "$config"
} >"$settings"
if ! has_line /etc/nix/nix.conf 'include nixferry.conf'; then
  # Behind what stands there, which may lack its last line break.
  if [ -s /etc/nix/nix.conf ]; then say; fi >>/etc/nix/nix.conf
  say 'include nixferry.conf' >>/etc/nix/nix.conf
fi

system mkdir -p /etc/profile.d
{
  say "# Made by @NAME@."
  say 'PATH=$HOME/.nix-profile/bin:/nix/var/nix/profiles/default/bin:$PATH'
  say 'export PATH'
} >/etc/profile.d/nixferry-nix.sh
say "   and /etc/profile.d/nixferry-nix.sh, which puts Nix on the PATH of login shells"

add_group() {
  has_line /etc/group nixbld: && return 0
  if has groupadd; then
    system groupadd --system nixbld
  else
    say "nixbld:x:30000:nixbld1,nixbld2,nixbld3,nixbld4,nixbld5,nixbld6,nixbld7,nixbld8" >>/etc/group
  fi
}

# Nix builds as these; nobody logs in as them.
add_user() {
  has_line /etc/passwd "nixbld$1:" && return 0
  if has useradd; then
    system useradd --system --no-create-home --home-dir /var/empty --shell /usr/sbin/nologin \\
      --comment "Nix build user $1" --gid nixbld --groups nixbld "nixbld$1"
  else
    say "nixbld$1:x:$((30000 + $1)):30000:Nix build user $1:/var/empty:/usr/sbin/nologin" >>/etc/passwd
  fi
}

write_units() {
  units=/etc/systemd/system
  for unit in nix-daemon.service nix-daemon.socket; do
    if [ -e "$units/$unit" ] && ! has_line "$units/$unit" '# Made by @NAME@'; then
      fail "$units/$unit is of another Nix" "remove it, then type the same command again"
    fi
  done
  {
    say "# Made by @NAME@."
    say "[Unit]"
    say "Description=Nix daemon, started when it is called"
    say "RequiresMountsFor=/nix/store /nix/var"
    say "Before=multi-user.target"
    say "[Socket]"
    say "ListenStream=/nix/var/nix/daemon-socket/socket"
    say "[Install]"
    say "WantedBy=sockets.target"
  } >"$units/nix-daemon.socket"
  {
    say "# Made by @NAME@."
    say "[Unit]"
    say "Description=Nix daemon"
    say "RequiresMountsFor=/nix/store /nix/var"
    say "[Service]"
    say "ExecStart=$profile/bin/nix-daemon --daemon"
    say "# Downloads that builders make must not wait for an internet that is not there."
    say 'Environment="NIX_CURL_FLAGS=--connect-timeout 3 --retry 0"'
    say "KillMode=process"
    say "LimitNOFILE=1048576"
    say "[Install]"
    say "WantedBy=multi-user.target"
  } >"$units/nix-daemon.service"
}

if [ $mode = multi ]; then
  say "5. make the group nixbld and its users, and start the daemon"
  add_group
  for number in 1 2 3 4 5 6 7 8; do add_user $number; done
  system chgrp nixbld /nix/store
  system chmod 1775 /nix/store
  if [ -d /run/systemd/system ] && has systemctl; then
    write_units
    system systemctl daemon-reload
    system systemctl enable --now nix-daemon.socket
    system systemctl try-restart nix-daemon.service
  else
    say "   systemd does not run here: have $profile/bin/nix-daemon started by what does"
  fi
else
  say "5. no daemon: Nix is for root alone (--multi-user makes one)"
fi

say "complete: $("$profile/bin/nix" --version)"
say "next: log in again, or type: export PATH=$profile/bin:\\$PATH"
if [ -z "$url$mirror" ] && ! has_line "$settings" 'substituters = '; then
  volumes=
  for folder in "$@"; do volumes="$volumes $(quoted "$folder")"; done
  say "then tell it where to fetch from, with the URL of the machine that runs nixferry serve, and the KEY that nixferry keys show prints there:"
  say "  $again --url http://SERVER:8080 --public-key KEY$volumes"
fi
`;
