#!/usr/bin/env bash
# Builds for an ARM board: cross/build.sh aarch64|armv7|armv6 [--with zig|cross|debian] [--lean] [--deb]
#   --with  zig: cargo-zigbuild and rustup; cross: containers and rustup; debian: what cross/setup.sh installs.
#           Left out: the first of them that is there
#   --lean  compiled quickly, for tests; left out: the profile `dist`, small and with full LTO
#   --deb   makes the package, too
# Prints the path of what was made last.
set -euo pipefail
cd "$(dirname "$0")/.."
. cross/targets.sh "${1:-}"
name=$1 with='' profile=dist package=''
shift
while [ $# -gt 0 ]; do
    case $1 in
    --with) with=${2:?zig, cross or debian}; shift ;;
    --lean) profile=lean ;;
    --deb) package=yes ;;
    *) echo "what is $1?" >&2; exit 2 ;;
    esac
    shift
done
if [ -z "$with" ]; then
    if command -v cargo-zigbuild >/dev/null && command -v rustup >/dev/null; then with=zig
    elif command -v cross >/dev/null; then with=cross
    else with=debian; fi
fi

# Each way has a compiler of its own, so a folder of its own.
export CARGO_TARGET_DIR=$PWD/target/cross/$with
case $with in
zig)
    rustup target add "$triple" >&2
    cargo zigbuild --locked --profile "$profile" --target "$triple$glibc"
    ;;
cross)
    CROSS_CONFIG=cross/Cross.toml cross build --locked --profile "$profile" --target "$triple"
    ;;
debian)
    export PATH=/usr/bin:$PATH
    root=$(cross/sysroot.sh "$triple")
    upper=${triple^^} upper=${upper//-/_} lower=${triple//-/_}
    if [ -n "$gcc" ]; then
        export "CARGO_TARGET_${upper}_LINKER=$gcc" "CC_$lower=$gcc" "CARGO_TARGET_${upper}_RUSTFLAGS=--sysroot=$root"
        cargo build --locked --profile "$profile" --target "$triple"
    else
        # Debian has no start files for an ARMv6; zig brings them.
        export "CARGO_TARGET_${upper}_RUSTFLAGS=--sysroot=$root -Clink-self-contained=no"
        cargo zigbuild --locked --profile "$profile" --target "$triple"
    fi
    ;;
*)
    echo "--with zig, cross or debian" >&2
    exit 2
    ;;
esac
made=$CARGO_TARGET_DIR/$triple/$profile/fieldgate
if [ -n "$package" ]; then
    host=$PWD/target/release/fieldgate
    [ -x "$host" ] || { unset CARGO_TARGET_DIR; cargo build --locked --release; }
    static=()
    [ -n "$gcc" ] || static=(--static)
    packages/build.sh --target "$triple" "${static[@]}" --host "$host" "$made"
else
    echo "$made"
fi
