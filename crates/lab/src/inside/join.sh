#!/bin/sh
# join INTERFACE GUEST [WIRE]: gives a guest's interface its place in the machine's network, or on
# the bridge of a data network.
. /lab/settings
ip link set "$1" up
if [ -n "$3" ]; then
    brctl addif "data$3" "$1"
elif [ -n "$BRIDGE" ]; then
    brctl addif "$BRIDGE" "$1"
else
    echo 1 >"/proc/sys/net/ipv4/conf/$1/proxy_arp"
    ip route replace "10.0.2.$((100 + $2))/32" dev "$1" src 10.0.2.15
fi
