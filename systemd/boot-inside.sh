#!/usr/bin/env bash
# What systemd/boot.sh tries under the systemd that it booted.
set -u

unit=fieldgate.service config=/etc/fieldgate/fieldgate.toml
ok() {
    if "${@:2}"; then
        echo "ok   $1"
    else
        echo "FAIL $1"
        journalctl --no-pager --unit=$unit | tail -n 15
    fi
}
not() { ! "$@"; }
property() { systemctl show --value --property="$1" $unit; }
is() { [ "$(property "$1")" = "$2" ]; }
until_() { for _ in $(seq 200); do "$@" && return 0; sleep 0.1; done; return 1; }
metrics() { python3 -c "
import urllib.request
print(urllib.request.urlopen('http://127.0.0.1:8080/metrics', timeout=2).read().decode())" 2>/dev/null; }
says() { metrics | grep -Eq "^$1(\{.*\})? $2(\.0)?\$"; }
status() { grep -q "^$1:[[:space:]]*$2\$" "/proc/$(property MainPID)/status"; }
finish() { echo "ok   all was tried"; systemctl poweroff --force --force; }
trap finish EXIT

echo "== the unit under $(systemctl --version | head -n 1)"
ok "the package installs" dpkg --force-depends --install /tmp/fieldgate.deb
ok "the service is active: it said that it is ready" is ActiveState active
ok "by notification" is Type notify
ok "its status is told" until_ eval 'property StatusText | grep -q "of . links up"'
ok "the page answers" until_ says fieldgate_build_info 1
ok "no privileges are to be had" status NoNewPrivs 1
ok "no capabilities" status CapBnd 0000000000000000
ok "system calls are filtered" status Seccomp 2
ok "the store is durable all the same" until_ says fieldgate_store_durable 1
synchronised=$(python3 -c 'import ctypes; print(int(0 <= ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) < 5))')
ok "the kernel may be asked about its clock: $synchronised" says fieldgate_clock_synchronised "$synchronised"
# What is allowed is what the file says, and what systemd makes of it while it runs is no more.
exposure=$(systemd-analyze security --no-pager $unit | sed -n 's/.*Overall exposure level.*: \([0-9.]*\) .*/\1/p')
ok "its exposure as it runs is $exposure" awk -v is="$exposure" 'BEGIN { exit !(is > 0 && is <= 2.0) }'

echo "== the journal"
entry() { journalctl --no-pager --output=json FIELDGATE_LINK=system | grep -q '"PRIORITY":"6"'; }
ok "an entry is found by its link, with its level" until_ entry
ok "and can be read with its fields" until_ eval 'journalctl --no-pager --unit=$unit | grep -q "link is up link=system"'

connected() { metrics | grep -q 'fieldgate_publisher_connects_total{.*cloud.*} 1$'; }
echo "== secrets by LoadCredential"
mkdir -p /etc/systemd/system/$unit.d
printf 'correct horse' >/etc/fieldgate/secrets/mqtt-password
printf '[Service]\nLoadCredential=mqtt-password:/etc/fieldgate/secrets/mqtt-password\nWatchdogSec=3s\nTimeoutAbortSec=2s\nRestartSec=1s\n' \
    >/etc/systemd/system/$unit.d/test.conf
cat >>$config <<'TOML'

[[publish.sparkplug]]
name = "cloud"
broker = "mqtt://127.0.0.1:1883"
username = "gateway"
password = { credential = "mqtt-password" }
TOML
mosquitto_passwd -b -c /tmp/passwords gateway 'correct horse'
chmod 644 /tmp/passwords
printf 'listener 1883 127.0.0.1\npassword_file /tmp/passwords\nallow_anonymous false\n' >/tmp/mosquitto.conf
mosquitto -c /tmp/mosquitto.conf -d
systemctl daemon-reload
systemctl restart $unit
ok "the broker takes the password" until_ connected

echo "== a reload with a mistake in the file"
first=$(property MainPID)
cp $config /tmp/good.toml
echo '[[device]]' >>$config
ok "it fails" not systemctl reload $unit
ok "the mistake is told" until_ eval 'journalctl --no-pager --unit=$unit | grep -q "error.*name"'
ok "the old plan runs on in the same process" test "$(property MainPID)" = "$first" -a "$(property ActiveState)" = active
cp /tmp/good.toml $config

echo "== a reload with a change"
cat >>$config <<'TOML'

[[link.modbus-tcp]]
name = "net"
host = "127.0.0.1"
port = 9

[[device]]
name = "new"
link = "net"
scan = "fast"
[device.tag]
t = { at = "holding:0", type = "u16" }
TOML
ok "it works" systemctl reload $unit
ok "the change is taken over" until_ eval "metrics | grep -q 'fieldgate_link_state{link=\"net\"}'"
ok "in the same process" test "$(property MainPID)" = "$first" -a "$(property NRestarts)" = 0
ok "and the service is active again" until_ is ActiveState active
cp $config /tmp/good.toml

echo "== a process that hangs"
ok "none was needed before" is NRestarts 0
sleep 4
ok "the watchdog is fed: the process lives longer than it" test "$(property MainPID)" = "$first"
kill -STOP "$first"
ok "systemd starts it again" until_ is NRestarts 1
ok "because of the watchdog" eval 'journalctl --no-pager --unit=$unit | grep -qi "watchdog timeout"'
ok "and it is ready again" until_ is ActiveState active

echo "== a file that cannot be used at the start"
echo '[[device]]' >>$config
systemctl restart $unit
ok "it is tried again and again" until_ eval '[ "$(property NRestarts)" -ge 2 ]'
cp /tmp/good.toml $config
ok "and comes good by itself" until_ is ActiveState active

echo "== a stop"
began=$(date +%s%N)
systemctl stop $unit
took=$((($(date +%s%N) - began) / 1000000))
ok "it takes $took ms" test $took -lt 5000
ok "it ended well" is Result success
