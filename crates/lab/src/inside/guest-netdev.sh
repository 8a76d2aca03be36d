#!/bin/sh
# guest-netdev N: guest N's own /proc/net/dev.
exec guest "$1" cat /proc/net/dev
