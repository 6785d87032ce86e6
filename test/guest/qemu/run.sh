#!/bin/sh
# First program of the guest after its initramfs: what a machine does at its start, then the tests whose files lie in guest_files, a line each.
cd "$guest_folder" || exit 1
PATH="$PWD/node_modules/.bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOME=/root
CI=true
NO_COLOR=1
TERM=dumb
# Emulated.
STARLING_PACE=10
export PATH HOME CI NO_COLOR TERM STARLING_PACE
hostname guest
ip link set lo up
mount --make-rshared /
# As udev does.
for fd in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${fd%%:*}" "/dev/${fd#*:}"; done
ln -s /proc/self/fd /dev/fd
# As systemd-modules-load would: what is not asked for by name.
for module in br_netfilter veth tun ip_tables; do modprobe "$module"; done
date -s "@$guest_now" >/dev/null
uname -r
# shellcheck disable=SC2046
vitest run --project hosts --no-file-parallelism --reporter verbose $(echo "$guest_files" | tr , ' ')
echo "@exit $?"
echo o >/proc/sysrq-trigger
sleep 30
