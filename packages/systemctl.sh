#!/bin/sh
# Stands for systemctl in packages/test.sh: runs the service's ExecStart as its user, and writes down what was asked.
set -e

echo "$*" >>/var/log/systemctl.log
# What only concerns files the real one can do without a running systemd.
case $* in
    --root=*) exec /usr/bin/systemctl "$@" ;;
esac
verb= unit=
for word in "$@"; do
    case $word in
        -*) ;;
        *) if [ -z "$verb" ]; then verb=$word; else unit=$word; fi ;;
    esac
done
running() { [ -s /run/fieldgate.pid ] && kill -0 "$(cat /run/fieldgate.pid)" 2>/dev/null; }
start() {
    running && return
    command=$(sed -n 's/^ExecStart=//p' "/usr/lib/systemd/system/$unit")
    cd /var/lib/fieldgate
    # shellcheck disable=SC2086 # several words are meant
    setpriv --reuid=fieldgate --regid=fieldgate --init-groups $command </dev/null >>/var/log/fieldgate.log 2>&1 &
    echo $! >/run/fieldgate.pid
}
stop() {
    running || return 0
    kill "$(cat /run/fieldgate.pid)"
    for _ in $(seq 150); do
        running || return 0
        sleep 0.1
    done
    echo "fieldgate did not end" >>/var/log/systemctl.log
    kill -9 "$(cat /run/fieldgate.pid)"
}
case $verb in
    is-enabled) exec /usr/bin/systemctl --root=/ is-enabled "$unit" ;;
    is-active) running ;;
    start) start ;;
    stop) stop ;;
    restart) stop; start ;;
    daemon-reload) ;;
    *) echo "not known here: $*" >>/var/log/systemctl.log; exit 1 ;;
esac
