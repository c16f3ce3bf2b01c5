#!/usr/bin/env bash
# The broker killed every 10 s for five minutes, in real time, with the release build: nothing lost, and nothing twice but
# what was under way.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -z "${FIELDGATE_BIN:-}" ]; then
    cargo build --release
    FIELDGATE_BIN=target/release/fieldgate
fi
export FIELDGATE_BIN
export FIELDGATE_KILLS="${FIELDGATE_KILLS:-30}" FIELDGATE_KILL_EVERY="${FIELDGATE_KILL_EVERY:-10}"
exec tests/interop/run.sh kills
