#!/bin/sh
# Gets what the Nixferry for the other kind of machine is made of, with apt-get (on Debian 12) and npm, into a new folder:
#   scripts/build-tools/fetch.sh arm64 FOLDER && npm run build:tools -- arm64 FOLDER
# Nothing is installed, and root is not needed.
set -eu

machine=$1
mkdir "$2"
folder=$(cd "$2" && pwd)
case $machine in
  arm64) debian=arm64 ;;
  x64) debian=amd64 ;;
  *) echo "usage: $0 arm64|x64 FOLDER" >&2 && exit 2 ;;
esac
version() { node -p "require('./package-lock.json').packages['node_modules/$1'].version"; }
node=node-linux-$machine@$(version "node-linux-$machine")
addon=@napi-rs/lzma-linux-$machine-gnu@$(version @napi-rs/lzma)

mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial" "$folder/packages"
cd "$folder/packages"
for action in update download; do
  set -- "$action"
  if [ "$action" = download ]; then
    for name in libc6 libstdc++6 gcc-12-base libgcc-s1 xz-utils liblzma5 bzip2 libbz2-1.0; do
      set -- "$@" "$name:$debian"
    done
  fi
  apt-get -q -o APT::Architectures::="$debian" -o APT::Sandbox::User=root \
    -o Dir::State::lists="$folder/apt/lists" -o Dir::Cache="$folder/apt/cache" "$@"
done
for package in ./*.deb; do dpkg --extract "$package" "$folder"; done
npm pack --silent "$node" "$addon"
unpack() {
  mkdir -p "$folder/node_modules/$1"
  tar -xzf "$2" -C "$folder/node_modules/$1" --strip-components 1
}
unpack "node-linux-$machine" "node-linux-$machine"-*.tgz
unpack "@napi-rs/lzma-linux-$machine-gnu" napi-rs-lzma-linux-"$machine"-gnu-*.tgz
rm -r "$folder/apt" "$folder/packages"
