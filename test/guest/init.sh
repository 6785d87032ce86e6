#!/bin/sh
# First program of the guest, whose root is the host's, read-only. Mounts what a machine has, runs the scenarios on control
# groups of one version, and turns the guest off. What is to be read by the test begins with "@". The kernel hands over as
# environment what it does not know of its command line: GUEST_NODE, GUEST_FOLDER, GUEST_CGROUPS.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

finish() {
  echo "@end"
  echo o >/proc/sysrq-trigger
  sleep 10
}

mount -t proc proc /proc
trap finish EXIT
mount -t sysfs sysfs /sys
# Its own devices: the kernel mounts them over those that the root shows.
grep -q ' /dev devtmpfs ' /proc/mounts || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
# All that is written goes here: nothing else of the root may be covered, since the tree can lie anywhere.
mount -t tmpfs tmpfs /dev/shm
mkswap /dev/ubdb >/dev/null && swapon /dev/ubdb

if [ "$GUEST_CGROUPS" = v2 ]; then
  # As systemd mounts it.
  mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
else
  mount -t tmpfs tmpfs /sys/fs/cgroup
  for controller in cpu,cpuacct memory pids blkio devices freezer; do
    mkdir "/sys/fs/cgroup/$controller"
    mount -t cgroup -o $controller cgroup "/sys/fs/cgroup/$controller"
  done
fi
mkdir /dev/shm/scenarios
"$GUEST_NODE" "$GUEST_FOLDER/run-scenarios.ts" /dev/shm/scenarios "$GUEST_CGROUPS" /dev/ubda 2>&1 | sed "s/^/@/"
