#!/bin/sh
# guest-stat N: guest N's own /proc/stat.
exec guest "$1" cat /proc/stat
