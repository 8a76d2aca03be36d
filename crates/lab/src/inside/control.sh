#!/bin/sh
# The control port's loop. A request is a line "run LENGTH" and so many bytes of shell script; the
# answer is the script's output as it comes, then a line of its own with the boot's secret token and
# the exit status. TOKEN cannot occur in the output by accident, so the port stays 8-bit clean.
# "put LENGTH MODE FILE" and so many bytes write a file; the answer is the token and a status.
. /lab/settings
. /lab/port.sh
open_port
# take LENGTH: so many bytes of the port. dd reads exactly as many, in pieces as they come.
take() {
    [ "$1" -eq 0 ] || dd bs="$1" count=1 iflag=fullblock <&3 2>/dev/null
}
printf '%s ready\n' "$TOKEN" >&3
cd /root || exit
while IFS=' ' read -r word length mode file <&3; do
    case $word in
    run)
        take "$length" >/run/lab.command
        setsid /bin/sh /run/lab.command </dev/null >&3 2>&1 3>&-
        ;;
    put)
        mkdir -p "${file%/*}"
        take "$length" >"$file" && chmod "$mode" "$file"
        ;;
    *) continue ;;
    esac
    printf '%s %d\n' "$TOKEN" $? >&3
done
poweroff -f
