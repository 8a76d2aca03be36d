# The QEMU guests, read by init: vhost-net on a tap each, and a disk, the first's on an I/O thread.
number=1
while [ "$number" -le "$GUESTS" ]; do
    ip tuntap add dev "tap$number" mode tap
    /lab/join.sh "tap$number" "$number"
    data=
    if [ "$WIRES" -gt 0 ]; then
        ip tuntap add dev "dtap$number" mode tap
        /lab/join.sh "dtap$number" "$number" "$(data_wire "$number")"
        data="-netdev tap,id=data,ifname=dtap$number,script=no,downscript=no,vhost=on
            -device virtio-net-pci,netdev=data,romfile=,mac=52:54:00:00:04:$(printf %02x "$number")"
    fi
    truncate -s 128M "/lab/g$number.disk"
    disk="-drive file=/lab/g$number.disk,if=none,id=disk$number,format=raw
        -device virtio-blk-pci,drive=disk$number"
    [ "$number" = 1 ] && disk="-object iothread,id=io1 $disk,iothread=io1"
    # shellcheck disable=SC2086 # $data and $disk are several arguments
    qemu-system-x86_64 -enable-kvm -cpu host -name "g$number,debug-threads=on" \
        -smp "$VCPUS" -m "$GUEST_MEMORY" -nodefaults -no-user-config -display none \
        -kernel /lab/vmlinux -initrd /lab/guest.img \
        -append "console=ttyS0 quiet rdinit=/init lab.guest=$number lab.wires=$WIRES" \
        -serial "file:/run/g$number.console" \
        -netdev "tap,id=net,ifname=tap$number,script=no,downscript=no,vhost=on" \
        -device "virtio-net-pci,netdev=net,romfile=,mac=52:54:00:00:01:$(printf %02x "$number")" \
        $data $disk >"/run/g$number.log" 2>&1 </dev/null &
    echo $! >"/run/g$number.pid"
    say "guest $number started"
    number=$((number + 1))
done
