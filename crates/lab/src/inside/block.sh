#!/bin/sh
# Xen's disk hotplug script for phy: disks: names the device to the block backend.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/busybox
[ "$1" = add ] || exit 0
device=$(xenstore-read "$XENBUS_PATH/params")
xenstore-write "$XENBUS_PATH/physical-device" "$(stat -c %t:%T "$device")"
xenstore-write "$XENBUS_PATH/hotplug-status" connected
