#!/bin/sh
# Xen's network hotplug script: called by xl with the action, $vif and $XENBUS_PATH.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/busybox
[ "$1" = online ] || exit 0
domain=${vif#vif}
domain=${domain%%.*}
name=$(xenstore-read "/local/domain/$domain/name")
/lab/join.sh "$vif" "${name#g}"
xenstore-write "$XENBUS_PATH/hotplug-status" connected
