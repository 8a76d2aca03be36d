#!/bin/sh
# The control port's loop. A request is a line "run LENGTH" and so many bytes of shell script; the
# answer is the script's output as it comes, then a line of its own with the boot's secret token and
# the exit status. TOKEN cannot occur in the output by accident, so the port stays 8-bit clean.
. /lab/settings
. /lab/port.sh
open_port
printf '%s ready\n' "$TOKEN" >&3
cd /root || exit
while IFS=' ' read -r word length <&3; do
    [ "$word" = run ] || continue
    dd bs=1 count="$length" <&3 >/run/lab.command 2>/dev/null
    setsid /bin/sh /run/lab.command </dev/null >&3 2>&1 3>&-
    printf '%s %d\n' "$TOKEN" $? >&3
done
poweroff -f
