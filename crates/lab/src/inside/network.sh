# The machine's own network, read by init: one NIC with a fixed address in the emulator's user
# network. With BRIDGE set the NIC is a port of that bridge and the guests' interfaces join it;
# without, the guests' addresses are routed and answered for by proxy ARP.
sysctl -q -w net.ipv4.ip_forward=1
sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 2>/dev/null
ip link set lo up
until ip link show eth0 >/dev/null 2>&1; do sleep 0.1; done
if [ -n "$BRIDGE" ]; then
    brctl addbr "$BRIDGE"
    brctl stp "$BRIDGE" off
    brctl setfd "$BRIDGE" 0
    brctl addif "$BRIDGE" eth0
    ip link set eth0 up
    ip link set "$BRIDGE" up
    ip addr add 10.0.2.15/24 dev "$BRIDGE"
else
    ip link set eth0 up
    ip addr add 10.0.2.15/24 dev eth0
    echo 1 >/proc/sys/net/ipv4/conf/eth0/proxy_arp
fi
ip route add default via 10.0.2.2
