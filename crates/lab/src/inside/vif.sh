#!/bin/sh
# Xen's network hotplug script: called by xl with the action, $vif and $XENBUS_PATH.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/busybox
[ "$1" = online ] || exit 0
domain=${vif#vif}
domain=${domain%%.*}
name=$(xenstore-read "/local/domain/$domain/name")
bridge=$(xenstore-read "$XENBUS_PATH/bridge" 2>/dev/null)
case $bridge in
data*) /lab/join.sh "$vif" "${name#g}" "${bridge#data}" ;;
*) /lab/join.sh "$vif" "${name#g}" ;;
esac
xenstore-write "$XENBUS_PATH/hotplug-status" connected
