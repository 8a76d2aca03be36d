#!/bin/busybox sh
# PID 1 of a guest: one interface, a TCP sink on port 5001 and commands by line on port 7.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/busybox HOME=/ TERM=linux
/bin/busybox mkdir -p /proc /sys /dev /run /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /usr/local/busybox
while read -r module; do
    insmod "/lab/modules/$module"
done </lab/modules.order
until [ -b /dev/xvda ] || [ -b /dev/vda ]; do sleep 0.1; done
number=$(sed 's/.*lab\.guest=\([0-9]*\).*/\1/' /proc/cmdline)
hostname "g$number"
# A guest that resets itself boots without a word: this is how it is found out.
echo "lab: guest $number boots" >/dev/console
until ip link show eth0 >/dev/null 2>&1; do sleep 0.1; done
ip link set lo up
ip link set eth0 up
ip addr add "10.0.2.$((100 + number))/24" dev eth0
ip route add default via 10.0.2.2
wires=$(sed -n 's/.*lab\.wires=\([0-9]*\).*/\1/p' /proc/cmdline)
if [ "${wires:-0}" -gt 0 ]; then
    until ip link show eth1 >/dev/null 2>&1; do sleep 0.1; done
    ip link set eth1 up
    ip addr add "10.1.$(((number - 1) % wires + 1)).$((100 + number))/24" dev eth1
fi
nc -ll -p 5001 -e /lab/sink.sh </dev/null >/dev/null 2>&1 &
# The agent's program and key are on the disk, behind its first MiB: now, or when the machine has put
# them there and says so. Past the page cache, which does not know of it.
for disk in /dev/xvda /dev/vda; do [ -b "$disk" ] && break; done
mkfifo /run/agent-wanted
fetch() {
    dd if="$disk" bs=1M skip=1 iflag=direct 2>/dev/null | (cd / && cpio -idmu) 2>/dev/null
    # The last file of the archive.
    [ -e /lab/agent/key ]
}
fetched=no
fetch && fetched=yes
nc -ll -p 7 -e /lab/serve.sh </dev/null >/dev/null 2>&1 &
until [ "$fetched" = yes ]; do
    read -r _ </run/agent-wanted
    fetch && fetched=yes
done
exec /lab/agent/vmeter agent run --listen 0.0.0.0:5203 --key /lab/agent/key </dev/null
