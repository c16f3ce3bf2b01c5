#!/usr/bin/env bash
# Checks the unit, its drop-in, sysusers and tmpfiles; any word of `verify` fails, for it ends with 0 on unknown keys.
set -euo pipefail
cd "$(dirname "$0")"

limit=2.0
command -v systemd-analyze >/dev/null || { echo "FAIL systemd-analyze is missing: apt-get install systemd" >&2; exit 1; }
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
failed=0
fail() { echo "FAIL $1"; failed=1; }

# The program need not be installed here, and the settings that the drop-in only suggests are checked too.
mkdir "$room/fieldgate.service.d"
sed 's|/usr/bin/fieldgate|/bin/true|' fieldgate.service >"$room/fieldgate.service"
sed 's|^#\([A-Z][A-Za-z]*=\)|\1|' fieldgate.service.d/example.conf >"$room/fieldgate.service.d/example.conf"
grep -q '^LoadCredential=' "$room/fieldgate.service.d/example.conf" || fail "the drop-in's settings are not seen"

said=$(systemd-analyze verify --man=no "$room/fieldgate.service" 2>&1) || fail "systemd-analyze verify ends with $?"
[ -z "$said" ] || fail "systemd-analyze verify says: $said"
# What is shipped, without the drop-in: its exposure is what the limit is for.
rm -r "$room/fieldgate.service.d"
said=$(systemd-analyze verify --man=no "$room/fieldgate.service" 2>&1) || fail "systemd-analyze verify ends with $?"
[ -z "$said" ] || fail "systemd-analyze verify says: $said"
echo "systemd-analyze verify ($(systemd-analyze --version | head -n 1)): nothing to say"

exposure=$(systemd-analyze security --offline=true --no-pager "$room/fieldgate.service" 2>&1 |
    sed -n 's/.*Overall exposure level for fieldgate.service: \([0-9.]*\) .*/\1/p')
echo "exposure ${exposure:-unknown} (limit $limit)"
awk -v is="${exposure:-99}" -v limit="$limit" 'BEGIN { exit !(is <= limit) }' || fail "exposure above $limit"
for kept in 'DeviceAllow=char-ttyUSB rw' 'DeviceAllow=char-ttyACM rw' 'DeviceAllow=char-ttyAMA rw' \
    'DeviceAllow=char-ttyS rw' 'SupplementaryGroups=dialout' 'AF_INET AF_INET6' 'NotifyAccess=main' 'adjtimex clock_adjtime'; do
    grep -qF "$kept" fieldgate.service || fail "the unit has no \`$kept\`"
done
! grep -qE '^Private(Network|Devices)=(yes|true|1)' fieldgate.service || fail "no network or no serial ports"

! grep -qE '^ProtectClock=(yes|true|1)' fieldgate.service || fail "the kernel may not be asked about its clock"

# Both act on an empty root; the user and the folders are there afterwards.
root="$room/root"
mkdir -p "$root/etc"
printf 'root:x:0:0::/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\ndialout:x:20:\n' >"$root/etc/group"
said=$(systemd-sysusers --root="$root" "$PWD/fieldgate.sysusers" 2>&1) || fail "systemd-sysusers: $said"
grep -q '^fieldgate:' "$root/etc/passwd" || fail "no user: $said"
grep -q '^dialout:.*fieldgate' "$root/etc/group" || fail "not in dialout: $said"
if [ "$(id -u)" -eq 0 ]; then
    said=$(systemd-tmpfiles --root="$root" --create "$PWD/fieldgate.tmpfiles" 2>&1) || fail "systemd-tmpfiles: $said"
    for folder in etc/fieldgate:750 etc/fieldgate/secrets:700 var/lib/fieldgate:750; do
        [ "$(stat -c %a "$root/${folder%:*}" 2>/dev/null)" = "${folder#*:}" ] || fail "$folder: $said"
    done
else
    echo "systemd-tmpfiles: NOT checked, only root may give folders away"
fi
exit "$failed"
