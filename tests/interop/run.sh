#!/usr/bin/env bash
# Runs the interop suite: the gateway between mosquitto, pymodbus, libmodbus, asyncua, node-opcua, open62541 and pysparkplug.
# Makes its own Python environment; a peer that is missing is a failure, never a skip.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages="mosquitto socat python3-venv build-essential pkg-config libmodbus-dev"
for tool in mosquitto socat python3 cc pkg-config; do
    if ! PATH="$PATH:/usr/sbin" command -v "$tool" >/dev/null; then
        echo "FAIL $tool is missing: apt-get install $packages" >&2
        exit 1
    fi
done
pkg-config --exists libmodbus || { echo "FAIL libmodbus is missing: apt-get install $packages" >&2; exit 1; }
mkdir -p target/interop-peers
# shellcheck disable=SC2046 # several words are meant
cc -std=gnu11 -Wall -Wextra -Werror -O1 -o target/interop-peers/libmodbus tests/interop/libmodbus/peer.c \
    $(pkg-config --cflags --libs libmodbus)

# Taken out of its package, not installed: that would start it as a service.
if [ ! -x target/interop-peers/usr/bin/prometheus ]; then
    (cd target/interop-peers && apt-get download -qq prometheus 2>/dev/null && dpkg-deb --extract prometheus_*.deb . && rm prometheus_*.deb) ||
        { echo "FAIL prometheus cannot be had: apt-get update, then apt-get download prometheus" >&2; exit 1; }
fi

venv=target/interop-venv
wanted=$(sha256sum tests/interop/requirements.txt)
if [ "$(cat "$venv/made-from" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/interop/requirements.txt
    echo "$wanted" >"$venv/made-from"
fi

# Node itself comes with the Python environment.
peers=target/interop-node
wanted=$(sha256sum tests/interop/node/package-lock.json)
if [ "$(cat "$peers/made-from" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$peers"
    mkdir -p "$peers"
    cp tests/interop/node/package*.json "$peers"
    (cd "$peers" && PATH="$OLDPWD/$venv/bin:$PATH" npm ci --no-audit --no-fund --silent)
    echo "$wanted" >"$peers/made-from"
fi
cp tests/interop/node/*.js "$peers"

PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" tests/interop/suite.py "$@"
