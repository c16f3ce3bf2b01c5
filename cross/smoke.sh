#!/usr/bin/env bash
# Tries a build for an ARM board on this machine, under an emulator, between peers that others wrote:
# cross/smoke.sh aarch64|armv7|armv6 PROGRAM|PACKAGE.deb. Ends with "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/.."
. cross/targets.sh "${1:-}"
what=$(realpath "${2:?a program or a package}")
room=$PWD/target/cross/smoke/$1
rm -rf "$room"
mkdir -p "$room"
if [[ $what == *.deb ]]; then
    [ "$(dpkg-deb --field "$what" Architecture)" = "$deb" ] || { echo "FAIL $what is not for $deb"; exit 1; }
    dpkg-deb --extract "$what" "$room"
    what=$room/usr/bin/fieldgate
fi
if ! command -v "$qemu" >/dev/null || [ ! -d "$sysroot/lib" ]; then
    echo "FAIL no emulator or no C library for $1: apt-get install qemu-user-static libc6-$deb-cross libgcc-s1-$deb-cross" >&2
    exit 1
fi
printf '#!/bin/sh\nexec "%s/cross/emulate.sh" %s "%s" "$@"\n' "$PWD" "$1" "$what" >"$room/fieldgate"
chmod +x "$room/fieldgate"
# Serial ports are set by TCGETS2, which the emulator has from version 11 on.
version=$("$qemu" --version | sed -n 's/.*version \([0-9]*\).*/\1/p;q')
serial=()
if [ "$version" -ge 11 ]; then serial=(FIELDGATE_SERIAL=1); else echo "serial ports: NOT checked, $qemu $version has no TCGETS2"; fi
exec env "${serial[@]}" FIELDGATE_BIN="$room/fieldgate" tests/interop/run.sh board
