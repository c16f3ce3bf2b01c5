#!/usr/bin/env bash
# Builds Rust's standard library for the triples named, with Debian's compiler, once a version: cross/sysroot.sh TRIPLE…
# Prints the folder for rustc's --sysroot. Needs what cross/setup.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."
# rustup's stand-ins, where they come first, obey toolchain files of other crates.
export PATH=/usr/bin:$PATH

root=$PWD/target/cross/sysroot/$(rustc --version --verbose | sed -n 's/^release: //p')
missing=() targets=()
for triple in "$@"; do
    [ -e "$root/lib/rustlib/$triple/whole" ] || { missing+=("$triple") targets+=(--target "$triple"); }
done
if [ ${#missing[@]} -gt 0 ]; then
    seed=$(mktemp -d)
    trap 'rm -rf "$seed"' EXIT
    mkdir "$seed/src"
    : >"$seed/src/lib.rs"
    printf '[package]\nname = "seed"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n' >"$seed/Cargo.toml"
    # The one place where the compiler is told to take what is not stable. Without the bitcode LTO fails at the last link.
    (cd "$seed" && RUSTC_BOOTSTRAP=1 __CARGO_DEFAULT_LIB_METADATA=sysroot RUSTFLAGS=-Cembed-bitcode=yes CARGO_TARGET_DIR=$seed/target \
        cargo build --quiet --release -Zbuild-std=std,test,panic_abort,panic_unwind "${targets[@]}") >&2
    for triple in "${missing[@]}"; do
        there=$root/lib/rustlib/$triple
        rm -rf "$there"
        mkdir -p "$there/lib"
        cp "$seed/target/$triple/release/deps/"*.r{lib,meta} "$there/lib/"
        rm -f "$there/lib/"libseed*
        touch "$there/whole"
    done
fi
echo "$root"
