#!/usr/bin/env bash
# Installs what builds and runs the ARM targets on Debian 12 or later where rustup has no targets: Debian's compiler with the
# source of its standard library, the cross linkers, an emulator. Adds no foreign architecture to dpkg.
set -euo pipefail

packages=(rustc-web cargo-web rust-web-src gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user-static)
if dpkg --status "${packages[@]}" >/dev/null 2>&1; then
    exit 0
fi
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
