#!/bin/sh
# First program of the guest, from its initramfs: takes the host's root over 9p, read-only, puts memory over it, and runs the
# tests in there. The kernel's command line names: guest_folder (of this repository), guest_modules (of the kernel).
/bin/busybox mkdir -p /proc /dev /lower /upper /root
/bin/busybox mount -t proc proc /proc
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod "/modules/$module"; done
for word in $(/bin/busybox cat /proc/cmdline); do
  case "$word" in guest_*=*) export "${word%%=*}=${word#*=}" ;; esac
done
fail() { echo "@failed $*"; echo o >/proc/sysrq-trigger; /bin/busybox sleep 10; }

/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /lower || fail "no root"
/bin/busybox mount -t tmpfs -o size=75% upper /upper
/bin/busybox mkdir /upper/files /upper/work
/bin/busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work,index=off overlay /root || fail "no overlay"
cd /root
# What hosts of the tests keep can hold no layers of containers on an overlay.
for what in "proc proc" "sysfs sys" "devtmpfs dev" "tmpfs run" "tmpfs tmp" "tmpfs var/tmp" "tmpfs var/lib"; do
  # shellcheck disable=SC2086
  set -- $what; /bin/busybox mount -t "$1" "$1" "/root/$2"
done
/bin/busybox mkdir -p /root/dev/pts /root/dev/shm /root/run/lock
/bin/busybox mount -t devpts devpts /root/dev/pts
/bin/busybox mount -t tmpfs tmpfs /root/dev/shm
/bin/busybox mount -t cgroup2 -o nsdelegate cgroup2 /root/sys/fs/cgroup
/bin/busybox mkdir -p /root/lib/modules
/bin/busybox mount --bind "/root$guest_modules" /root/lib/modules
# Not chroot: whoever enters a mount namespace is at its root, which would be the initramfs.
exec /bin/busybox switch_root /root /bin/sh "$guest_folder/test/guest/qemu/run.sh"
