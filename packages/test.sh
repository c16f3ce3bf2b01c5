#!/usr/bin/env bash
# Installs, upgrades, removes and purges the package in a throw-away copy of this system: packages/test.sh BIN
# The copy is an overlay that is gone with this script; dpkg and the scripts are the real ones, the service runs for real
# behind a small stand-in for systemctl. Needs root (or sudo), Debian, cargo-deb.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${FIELDGATE_ROOM:-}" ]; then
    for version in 0.1.0-1 0.1.0-2; do
        FIELDGATE_FAST=1 packages/build.sh "${1:?the program to ship}" "$version" | tail -n 1
        mkdir -p target/packages
        mv target/package/*.deb target/packages/
    done
    sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    # Where no overlay can be mounted, as within some containers, it cannot be tried.
    if ! "${sudo[@]}" unshare --mount --propagation private --pid --fork --kill-child --net sh -c 'mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r &&
        mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r' 2>/dev/null; then
        echo "install, upgrade, remove and purge: NOT checked, no overlay can be mounted here"
        exit 0
    fi
    # Its own mounts, processes and network: the ports are free, and nothing outlives it.
    exec "${sudo[@]}" env FIELDGATE_ROOM=1 unshare --mount --propagation private --pid --fork --kill-child --net "$0"
fi

# ------------------------------------------------------------------ inside

mount -t tmpfs -o size=1g tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
root=/mnt/root
mkdir -p "$root/tmp" "$root/run"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
ip link set lo up
cp target/packages/*_amd64.deb "$root/tmp/"
install -m 755 packages/systemctl.sh "$root/usr/local/sbin/systemctl"
# As on a system that systemd booted, and with a policy that lets services start.
mkdir -p "$root/run/systemd/system"
rm -f "$root/usr/sbin/policy-rc.d"
# The index of all manuals would take most of the time.
rm -f "$root/var/lib/man-db/auto-update"

failed=0
ok() { if "${@:2}"; then echo "ok   $1"; else echo "FAIL $1"; failed=1; fi; }
not() { ! "$@"; }
set +e
in_room() { chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }
install_package() {
    # A container's image may lack what every Debian has; what is under test is not that.
    in_room dpkg --force-depends --force-confold --install "/tmp/fieldgate_0.1.0-$1_amd64.deb" >"$root/tmp/dpkg.log" 2>&1 ||
        { cat "$root/tmp/dpkg.log"; return 1; }
}
pid() { cat "$root/run/fieldgate.pid" 2>/dev/null; }
# The value of a metric; nothing while the page is not up.
metric() {
    python3 - "$1" <<'PYTHON'
import re, sys, urllib.request
try:
    text = urllib.request.urlopen("http://127.0.0.1:8080/metrics", timeout=2).read().decode()
    found = re.findall(rf"^{sys.argv[1]}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    print(int(sum(map(float, found))))
except OSError:
    print(-1)
PYTHON
}
until_() { for _ in $(seq 100); do "$@" && return 0; sleep 0.1; done; return 1; }
above() { [ "$(metric "$1")" -gt "$2" ]; }
runs() { [ -n "$(pid)" ] && kill -0 "$(pid)" 2>/dev/null; }
mode() { [ "$(in_room stat -c '%a %U %G' "$1")" = "$2" ]; }
asked() { grep -q -- "$1" "$root/var/log/systemctl.log"; }

echo "== install"
ok "installs" install_package 1
ok "the service runs" until_ above fieldgate_start_time_seconds 0
ok "the service is switched on" test -L "$root/etc/systemd/system/multi-user.target.wants/fieldgate.service"
ok "as its user" test "$(in_room stat -c %U "/proc/$(pid)")" = fieldgate
ok "which may open serial ports" grep -qE '^dialout:.*fieldgate' "$root/etc/group"
ok "the configuration is root's to write, and the service's to read" mode /etc/fieldgate/fieldgate.toml "640 root fieldgate"
ok "secrets are root's" mode /etc/fieldgate/secrets "700 root root"
ok "the state is the service's" mode /var/lib/fieldgate "750 fieldgate fieldgate"
ok "the shipped configuration has no mistake" in_room setpriv --reuid=fieldgate --regid=fieldgate --init-groups fieldgate check /etc/fieldgate/fieldgate.toml
ok "the manual is there" test -s "$root/usr/share/man/man1/fieldgate.1.gz" -a -s "$root/usr/share/man/man1/fieldgate-run.1.gz"
for file in bash-completion/completions/fieldgate zsh/vendor-completions/_fieldgate fish/vendor_completions.d/fieldgate.fish \
    doc/fieldgate/copyright doc/fieldgate/LICENCES doc/fieldgate/examples/water.toml fieldgate/profiles/eastron-sdm630.toml; do
    ok "/usr/share/$file is there" test -s "$root/usr/share/$file"
done
ok "bash takes the completions" bash -n "$root/usr/share/bash-completion/completions/fieldgate"
ok "licences of others are told" grep -q 'async-opcua .*MPL-2.0' "$root/usr/share/doc/fieldgate/LICENCES"

echo "== upgrade, with a backlog and a configuration of one's own"
cat >>"$root/etc/fieldgate/fieldgate.toml" <<'TOML'

[system]
interval = "100ms"

# Nobody listens there, so all waits.
[[publish.sparkplug]]
name = "cloud"
broker = "mqtt://127.0.0.1:1"
TOML
sum=$(sha256sum <"$root/etc/fieldgate/fieldgate.toml")
in_room systemctl restart fieldgate.service
ok "a backlog grows" until_ above fieldgate_outbox_pending_samples 200
first=$(pid) waits=$(metric fieldgate_outbox_pending_samples)
ok "upgrades" install_package 2
ok "the service is another one now" test "$(pid)" != "$first"
ok "it is up again" until_ above fieldgate_start_time_seconds 0
ok "the backlog is whole: more than $waits wait" until_ above fieldgate_outbox_pending_samples "$waits"
ok "nothing was dropped" test "$(metric fieldgate_outbox_dropped_samples_total)" -eq 0
ok "it was opened as it was left" grep -qE 'store open segments=[0-9]+ bytes=[0-9]+ waiting=[1-9]' "$root/var/log/fieldgate.log"
ok "the configuration is as it was" test "$(sha256sum <"$root/etc/fieldgate/fieldgate.toml")" = "$sum"
ok "its rights are as they were" mode /etc/fieldgate/fieldgate.toml "640 root fieldgate"

echo "== upgrade of a service that was stopped and switched off"
in_room systemctl stop fieldgate.service
in_room systemctl --root=/ disable fieldgate.service 2>/dev/null
ok "upgrades" install_package 1
ok "it stays stopped" not runs
ok "it stays switched off" not test -e "$root/etc/systemd/system/multi-user.target.wants/fieldgate.service"
in_room systemctl --root=/ enable fieldgate.service 2>/dev/null
in_room systemctl start fieldgate.service

echo "== remove"
echo secret >"$root/etc/fieldgate/secrets/mqtt-password"
ok "removes" in_room dpkg --force-depends --remove fieldgate
ok "the service has ended" not runs
ok "the program is gone" not test -e "$root/usr/bin/fieldgate"
ok "the configuration is kept" test "$(sha256sum <"$root/etc/fieldgate/fieldgate.toml")" = "$sum"
ok "the state is kept" test -d "$root/var/lib/fieldgate/store"

echo "== install again"
ok "installs" install_package 2
ok "the backlog is still there" until_ above fieldgate_outbox_pending_samples "$waits"

echo "== purge"
ok "purges" in_room dpkg --force-depends --purge fieldgate
ok "the service has ended" not runs
ok "the state is gone" not test -e "$root/var/lib/fieldgate"
ok "the configuration and its secrets are gone" not test -e "$root/etc/fieldgate"
left=$(find "$root/etc/systemd" "$root/usr/lib/systemd" "$root/usr/lib/sysusers.d" "$root/usr/lib/tmpfiles.d" "$root/usr/share" \
    "$root/var/lib/systemd" -name '*fieldgate*' 2>/dev/null || true)
ok "nothing is left: $left" test -z "$left"
ok "systemctl was asked for nothing that is not known" not asked 'not known here\|did not end'
[ "$failed" -eq 0 ] || { tail -n 20 "$root/var/log/systemctl.log" "$root/var/log/fieldgate.log"; exit 1; }
