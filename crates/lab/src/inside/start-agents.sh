#!/bin/sh
# Starts the agents, whose program and key were put into /lab/agent.cpio: the machine's own, and those
# of the guests, which find them on their disks (guest-init.sh).
. /lab/settings
(cd / && cpio -idmu </lab/agent.cpio) 2>/dev/null || exit
/lab/agent/vmeter agent run --listen "0.0.0.0:$AGENT" --key /lab/agent/key \
    </dev/null >/run/agent.log 2>&1 &
agent=$!
number=1
while [ "$number" -le "$GUESTS" ]; do
    dd if=/lab/agent.cpio of="/lab/g$number.disk" bs=1M seek=1 conv=notrunc 2>/dev/null || exit
    guest "$number" 'echo >/run/agent-wanted'
    number=$((number + 1))
done
rm /lab/agent.cpio
until grep -q serving /run/agent.log; do
    kill -0 "$agent" 2>/dev/null || { cat /run/agent.log; exit 1; }
    sleep 0.1
done
# An agent that serves has its port open.
listens=":$(printf %04X "$AGENT") 00000000:0000 0A"
number=1
while [ "$number" -le "$GUESTS" ]; do
    guest "$number" "until grep -q '$listens' /proc/net/tcp; do sleep 0.1; done; echo serves" |
        grep -q serves || { echo "no answer from guest $number"; exit 1; }
    number=$((number + 1))
done
