#!/bin/sh
# lab-shell ROWS COLUMNS TERM: an interactive shell on the second serial port.
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty sane rows "$1" cols "$2"
TERM=${3:-linux} PS1='lab:\w# ' exec setsid -c bash --norc -i
