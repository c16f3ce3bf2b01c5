#!/usr/bin/env bash
# Boots a real systemd in a throw-away copy of this system and tries the unit in it: systemd/boot.sh PACKAGE.deb
# The copy is an overlay with processes, mounts and network of its own; it ends with this script. Needs root (or sudo).
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${FIELDGATE_ROOM:-}" ]; then
    sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    package=$(realpath "${1:?a package}")
    [ -x /lib/systemd/systemd ] || { echo "FAIL systemd is missing: apt-get install systemd" >&2; exit 1; }
    # Where no overlay can be mounted, as within some containers, it cannot be tried.
    if ! "${sudo[@]}" unshare --mount --propagation private --pid --fork --kill-child --net --uts --ipc --cgroup sh -c 'mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r &&
        mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r' 2>/dev/null; then
        echo "the unit under systemd: NOT checked, no overlay can be mounted here"
        exit 0
    fi
    log=target/systemd.log
    : >"$log"
    timeout --signal KILL 150 "${sudo[@]}" env FIELDGATE_ROOM=1 unshare --mount --propagation private --pid --fork \
        --kill-child --net --uts --ipc --cgroup "$0" "$package" "$(realpath "$log")" || true
    # What systemd made of control groups is empty by now.
    find /sys/fs/cgroup -depth -path '*fieldgate*' -type d -exec "${sudo[@]}" rmdir {} + 2>/dev/null || true
    # Where not even the first check was come to, it is systemd that does not boot, as within some containers.
    if ! grep -qE '^(ok|FAIL)' "$log"; then
        echo "the unit under systemd: NOT checked, no systemd boots here:"
        tail -n 10 "$log"
        exit 0
    fi
    grep -E '^(ok|FAIL|==)' "$log" || true
    grep -q '^ok   all was tried' "$log" || { echo "FAIL the boot did not come to its end:"; tail -n 30 "$log"; exit 1; }
    ! grep -q '^FAIL' "$log" || { tail -n 60 "$log"; exit 1; }
    exit
fi

# ------------------------------------------------------------------ inside, as the first process

package=$1 log=$2
mount -t tmpfs -o size=1g tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
root=/mnt/root
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/run/lock"
# Where systemd lays out credentials before it mounts them.
mount -t tmpfs tmpfs "$root/dev/shm"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
touch "$root/dev/console"
mount --bind "$log" "$root/dev/console"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
# As systemd has it outside of containers: what it mounts for a service comes back to it.
mount --make-rshared "$root"
# Nothing of this system is started but the journal.
for unit in /lib/systemd/system/{sysinit,multi-user,local-fs}.target.wants/* /etc/systemd/system/*.wants/* \
    /lib/systemd/system/*.timer; do
    unit=${unit##*/}
    [[ $unit == systemd-journald* || $unit == *.target ]] || ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -f "$root/usr/sbin/policy-rc.d" "$root/var/lib/man-db/auto-update"
cp "$package" "$root/tmp/fieldgate.deb"
install -m 755 systemd/boot-inside.sh "$root/usr/local/bin/inside.sh"
cat >"$root/etc/systemd/system/inside.service" <<'UNIT'
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /usr/local/bin/inside.sh
StandardOutput=file:/dev/console
StandardError=file:/dev/console
UNIT
printf '[Unit]\nRequires=basic.target\nWants=inside.service\nAllowIsolate=yes\n' >"$root/etc/systemd/system/inside.target"
exec chroot "$root" env -i container=oci PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system \
    --unit=inside.target --log-target=journal --show-status=no
