# The data networks, read by init: a card each (eth1, eth2) with the machine's own address on it, or,
# where there are guests, a bridge (data1, data2) that their second interfaces join.
wire=1
while [ "$wire" -le "$WIRES" ]; do
    until ip link show "eth$wire" >/dev/null 2>&1; do sleep 0.1; done
    ip link set "eth$wire" up
    if [ "$GUESTS" -gt 0 ]; then
        brctl addbr "data$wire"
        brctl stp "data$wire" off
        brctl setfd "data$wire" 0
        brctl addif "data$wire" "eth$wire"
        ip link set "data$wire" up
    else
        ip addr add "10.1.$wire.$LAST/24" dev "eth$wire"
    fi
    wire=$((wire + 1))
done
# data_wire GUEST: which wire a guest's second interface is on.
data_wire() { echo $((($1 - 1) % WIRES + 1)); }
