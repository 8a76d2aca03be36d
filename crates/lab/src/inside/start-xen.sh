# Xen's own services and the guests, read by init.
mount -t xenfs xenfs /proc/xen
mkdir -p /etc/xen /var/lib/xen /var/lib/xenstored /run/xen /run/xenstored /var/log/xen/console /run/lock
: >/etc/xen/xl.conf
say "starting xenstored"
xenstored --pid-file /run/xenstored.pid
until xenstore-read / >/dev/null 2>&1; do sleep 0.1; done
xen-init-dom0
xenconsoled --log=guest --pid-file=/run/xenconsoled.pid
say "creating the guests"
number=1
while [ "$number" -le "$GUESTS" ]; do
    truncate -s 128M "/lab/g$number.disk"
    disk=$(losetup -f) && losetup "$disk" "/lab/g$number.disk"
    {
        echo "name='g$number'"
        echo "kernel='/lab/vmlinux'"
        echo "ramdisk='/lab/guest.img'"
        echo "extra='console=hvc0 quiet rdinit=/init lab.guest=$number lab.wires=$WIRES'"
        echo "memory=$GUEST_MEMORY"
        echo "vcpus=$VCPUS"
        data=
        [ "$WIRES" -gt 0 ] &&
            data=",'mac=00:16:3e:00:01:$(printf %02x "$number"),bridge=data$(data_wire "$number")'"
        echo "vif=['mac=00:16:3e:00:00:$(printf %02x "$number")${BRIDGE:+,bridge=$BRIDGE}'$data]"
        echo "disk=['phy:$disk,xvda,w']"
    } >"/etc/xen/g$number.cfg"
    xl create "/etc/xen/g$number.cfg" >"/var/log/xen/create-g$number.log" 2>&1 || {
        cat "/var/log/xen/create-g$number.log" >/dev/console
        fail "xl create g$number failed"
    }
    say "guest $number created"
    number=$((number + 1))
done
