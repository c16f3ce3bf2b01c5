#!/usr/bin/env bash
# Makes a .deb of a program that is built already: packages/build.sh [--target TRIPLE] [--static] [--host BIN] BIN [VERSION]
#   BIN       the program to ship; its architecture is that of TRIPLE (x86_64, aarch64 or armv7 Linux)
#   --static  it needs no C library (musl)
#   --host    a build of the same source that runs here: writes manual and completions; BIN itself where left out
# Prints the package's path last. Needs `cargo install cargo-deb` and python3.
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-unknown-linux-gnu variant=() host=
while [[ ${1:-} == --* ]]; do
    case $1 in
        --target) target=$2; shift 2 ;;
        --static) variant=(--variant static); shift ;;
        --host) host=$2; shift 2 ;;
        *) echo "what is $1?" >&2; exit 2 ;;
    esac
done
binary=$(realpath "${1:?the program to ship}")
version=${2:-}
host=$(realpath "${host:-$binary}")

room=target/package
rm -rf "$room"
mkdir -p "$room"
install -m 755 "$binary" "$room/fieldgate"
"$host" man "$room/man"
"$host" completions "$room/completions"
packages/licences.py "$room/LICENCES" "$target"
cargo deb --locked --no-build --no-strip --quiet ${FIELDGATE_FAST:+--fast} --target "$target" "${variant[@]}" ${version:+--deb-version "$version"} \
    --output target/package/
ls "$PWD"/target/package/*.deb
