#!/bin/sh
# Runs dockerd in a test host, as: docker-engine.sh FOLDER
# FOLDER, which outlives power cuts, has daemon.json and all that the engine keeps. The engine takes the group that this
# script is in for the root of every cgroup hierarchy, so that what it makes goes with the host.
set -eu
if [ "${1:-}" != inside ]; then exec unshare --cgroup --mount "$0" inside "$1"; fi
folder=$2

grep -E '^[^ ]+ [^ ]+ cgroup2? ' /proc/self/mounts | while read -r _ point type flags _; do
  # Of the mount's options those that name a hierarchy: controllers, or name=….
  hierarchy=$(echo "$flags" | tr , '\n' |
    grep -vE '^(rw|ro|nosuid|nodev|noexec|(no|rel)atime|nsdelegate|memory_recursiveprot|xattr|release_agent=.*)$' | paste -sd , || true)
  umount "$point"
  mount -t "$type" ${hierarchy:+-o "$hierarchy"} cgroup "$point"
done
# On pure v2 a group that has processes of its own can't hand controllers down.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mkdir -p /sys/fs/cgroup/engine
  echo 0 >/sys/fs/cgroup/engine/cgroup.procs
fi

# What the engine would leave on the machine: a key, and containerd's folders.
mkdir -p "$folder/etc"
mount --bind "$folder/etc" /etc/docker
mount -t tmpfs tmpfs /opt

exec dockerd --config-file "$folder/daemon.json"
