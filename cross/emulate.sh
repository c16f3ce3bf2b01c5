#!/usr/bin/env bash
# Runs a program of an ARM board on this machine: cross/emulate.sh aarch64|armv7|armv6 PROGRAM [ARGUMENT…]
# The processor is always named: a build for a newer one than the board has ends at once, as it would there.
set -euo pipefail
. "$(dirname "$0")/targets.sh" "${1:-}"
exec "$qemu" -cpu "$cpu" -L "$sysroot" "${@:2}"
