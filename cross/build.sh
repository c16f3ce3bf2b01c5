#!/usr/bin/env bash
# Builds for ARM boards: cross/build.sh aarch64|armv7|armv6 … [--with zig|cross|debian] [--lean] [--deb]
#   --with  zig: cargo-zigbuild and rustup; cross: containers and rustup; debian: what cross/setup.sh installs.
#           Left out: the first of them that is there
#   --lean  compiled quickly, for tests; left out: the profile `dist`, small and with full LTO
#   --deb   makes the packages, too
# Prints the path of what was made for each, last.
set -euo pipefail
cd "$(dirname "$0")/.."
boards=() with='' profile=dist package=''
while [ $# -gt 0 ]; do
    case $1 in
    --with) with=${2:?zig, cross or debian}; shift ;;
    --lean) profile=lean ;;
    --deb) package=yes ;;
    --*) echo "what is $1?" >&2; exit 2 ;;
    *) boards+=("$1") ;;
    esac
    shift
done
[ ${#boards[@]} -gt 0 ] || . cross/targets.sh
for board in "${boards[@]}"; do . cross/targets.sh "$board"; done
if [ -z "$with" ]; then
    if command -v cargo-zigbuild >/dev/null && command -v rustup >/dev/null; then with=zig
    elif command -v cross >/dev/null; then with=cross
    else with=debian; fi
fi

# Each way has a compiler of its own, so a folder of its own.
export CARGO_TARGET_DIR=$PWD/target/cross/$with
build=(build --locked --profile "$profile")
case $with in
zig)
    for board in "${boards[@]}"; do
        . cross/targets.sh "$board"
        rustup target add "$triple" >&2
        cargo "zig${build[@]}" --target "$triple$glibc"
    done
    ;;
cross)
    for board in "${boards[@]}"; do
        . cross/targets.sh "$board"
        CROSS_CONFIG=cross/Cross.toml cross "${build[@]}" --target "$triple"
    done
    ;;
debian)
    # Where pip has put it: from here on Debian's own python comes first.
    if zig=$(python3 -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))' 2>/dev/null); then
        export CARGO_ZIGBUILD_ZIG_PATH=$zig
    fi
    export PATH=/usr/bin:$PATH
    triples=() by_gcc=() by_zig=()
    for board in "${boards[@]}"; do . cross/targets.sh "$board"; triples+=("$triple"); done
    root=$(cross/sysroot.sh "${triples[@]}")
    for board in "${boards[@]}"; do
        . cross/targets.sh "$board"
        upper=${triple^^} upper=${upper//-/_} lower=${triple//-/_} flags="--sysroot=$root"
        if [ -n "$gcc" ]; then
            export "CARGO_TARGET_${upper}_LINKER=$gcc" "CC_$lower=$gcc"
            by_gcc+=(--target "$triple")
        else
            # Debian has no start files for an ARMv6; zig brings them.
            flags+=" -Clink-self-contained=no"
            by_zig+=(--target "$triple")
        fi
        export "CARGO_TARGET_${upper}_RUSTFLAGS=$flags"
    done
    # In one go, so that all cores have work to the end.
    [ ${#by_gcc[@]} -eq 0 ] || cargo "${build[@]}" "${by_gcc[@]}"
    [ ${#by_zig[@]} -eq 0 ] || cargo "zig${build[@]}" "${by_zig[@]}"
    ;;
*)
    echo "--with zig, cross or debian" >&2
    exit 2
    ;;
esac
built=$CARGO_TARGET_DIR
unset CARGO_TARGET_DIR
for board in "${boards[@]}"; do
    . cross/targets.sh "$board"
    made=$built/$triple/$profile/fieldgate
    if [ -n "$package" ]; then
        host=$PWD/target/release/fieldgate
        [ -x "$host" ] || cargo build --locked --release
        static=()
        [ -n "$gcc" ] || static=(--static)
        mkdir -p target/packages
        made=$(packages/build.sh --target "$triple" "${static[@]}" --host "$host" "$made" | tail -n 1)
        mv "$made" target/packages/
        made=$PWD/target/packages/${made##*/}
    fi
    echo "$made"
done
