#!/bin/sh
# PID 1 of the emulated machine: brings up devices, the network and the guests, then obeys the
# control port. Nothing here waits by counting: under the instruction clock `sleep` costs nothing,
# so waits go on until the thing is there, and the program outside sets the time limit.
export PATH=/root:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /var/log /root /mnt
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /usr/local/busybox
export PATH=$PATH:/usr/local/busybox
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
[ -e /var/run ] || ln -s /run /var/run
ln -s /proc/self/fd /dev/fd 2>/dev/null
hostname lab
. /lab/settings
. /lab/port.sh

say() { echo "lab: $*" >/dev/console; }

fail() {
    say "cannot go on: $*"
    open_port
    printf '%s failed\n' "$TOKEN" >&3
    exec sleep 1000000
}

while read -r module; do
    insmod "/lab/modules/$module" || say "module $module did not load"
done </lab/modules.order

say "modules loaded"
. /lab/network.sh
. /lab/data.sh
[ -e "/lab/start-$KIND.sh" ] && . "/lab/start-$KIND.sh"
answering=0
while [ "$answering" -lt "$GUESTS" ]; do
    number=$((answering + 1))
    # An attempt that met a guest half up may hang; the time it gets is the machine's own, in which
    # the guest works too.
    if ! timeout 3 guest "$number" echo alive 2>/dev/null | grep -q alive; then
        # A guest of KVM is a process; on Xen it may restart.
        if [ -e "/run/g$number.pid" ] && ! kill -0 "$(cat "/run/g$number.pid")"; then
            cat "/run/g$number.log" "/run/g$number.console" >/dev/console
            fail "guest $number ended"
        fi
        sleep 0.2
        continue
    fi
    answering=$number
    say "guest $answering answers"
done
say "ready"
exec /lab/control.sh
