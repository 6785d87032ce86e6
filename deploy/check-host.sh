#!/bin/sh
# Says what this host has of what Starling needs: one line per item,
#   ok|missing|degraded  ITEM  — REMEDY
# and exits 1 if something required is missing. "degraded": Starling works, with less; the line says with what less.
# Changes nothing: everything is tried in namespaces of its own, which end with the trial.
set -u
PATH="$PATH:/usr/sbin:/sbin"
missing=0

ok() { printf 'ok        %s\n' "$1"; }
required() { printf 'missing   %s  — %s\n' "$1" "$2"; missing=1; }
degraded() { printf 'degraded  %s  — %s\n' "$1" "$2"; }

# try ITEM required|degraded REMEDY COMMAND…
try() {
  item=$1 level=$2 remedy=$3
  shift 3
  if "$@" >/dev/null 2>&1; then ok "$item"; else "$level" "$item" "$remedy"; fi
}
have() { command -v "$1" >/dev/null 2>&1; }
in_netns() { unshare --net sh -c "$1"; }
link_type() { in_netns "ip link add x0 type $1"; }

kernel_at_least() {
  major=$(uname -r | cut -d. -f1) minor=$(uname -r | cut -d. -f2 | tr -dc 0-9)
  [ "$major" -gt "$1" ] || { [ "$major" -eq "$1" ] && [ "$minor" -ge "$2" ]; }
}
# A controller is there if a v1 hierarchy has it, or the root of v2 offers it.
controller() {
  grep -qsw "$1" /sys/fs/cgroup/cgroup.controllers && return 0
  awk -v want="$1" '$(NF-2) == "cgroup" { n = split($NF, o, ","); for (i = 1; i <= n; i++) if (o[i] == want) found = 1 }
    END { exit !found }' /proc/self/mountinfo
}
v2_mount() { awk '$(NF-2) == "cgroup2" { print $5; exit }' /proc/self/mountinfo; }
writable_cgroup() {
  for dir in $(awk '$(NF-2) ~ /^cgroup2?$/ { print $5 }' /proc/self/mountinfo); do [ -w "$dir/cgroup.procs" ] || return 1; done
}

if [ "$(id -u)" != 0 ]; then
  required "root" "run as root: Starling, and the trials of this check, make namespaces, mounts and network devices"
  exit 1
fi
ok "root"
try "kernel 5.12 or newer ($(uname -r))" required "boot a newer kernel" kernel_at_least 5 12
case "$(uname -m)" in
  x86_64 | aarch64) ok "architecture $(uname -m)" ;;
  *) required "architecture $(uname -m)" "Starling is built for x86_64 and aarch64" ;;
esac
for tool in unshare ip nft mount; do
  case $tool in ip) package=iproute2 ;; nft) package=nftables ;; mount) package=mount ;; *) package=util-linux ;; esac
  try "tool $tool" required "apt install $package" have $tool
done

for kind in pid net ipc mount uts cgroup; do
  try "$kind namespaces" required "kernel option CONFIG_NAMESPACES, or lift the limit in /proc/sys/user" unshare --fork --$kind true
done
try "user namespaces" degraded "no rootless or remapped containers; sysctl user.max_user_namespaces" unshare --user true
# On a tmpfs, so that the trial does not depend on the file system of /tmp.
try "overlayfs" required "modprobe overlay, or CONFIG_OVERLAY_FS" unshare --mount sh -ec '
  mount -t tmpfs none /mnt && cd /mnt && mkdir l u w m && mount -t overlay none -o lowerdir=l,upperdir=u,workdir=w m'
try "seccomp filters" required "CONFIG_SECCOMP_FILTER" grep -qw errno /proc/sys/kernel/seccomp/actions_avail

for controller in memory cpu pids; do
  try "cgroup controller $controller" required "enable it: v2 in /sys/fs/cgroup/cgroup.subtree_control, v1 by kernel command line" \
    controller $controller
done
for controller in cpuset io; do
  v1=$controller
  [ $controller = io ] && v1=blkio
  controller $controller || controller $v1 && ok "cgroup controller $controller" ||
    degraded "cgroup controller $controller" "limits of that kind are refused"
done
try "cgroup v1 devices, or v2 with eBPF" required "mount cgroup v2" sh -c 'grep -q cgroup2 /proc/self/mountinfo || [ -d /sys/fs/cgroup/devices ]'
try "cgroup folders are writable" required "run outside a container, or with cgroups mounted read-write" writable_cgroup
if [ -n "$(v2_mount)" ]; then ok "cgroup v2 at $(v2_mount)"; else
  degraded "cgroup v2" "containers are ended by signals, not by cgroup.kill; systemd.unified_cgroup_hierarchy=1"
fi

for type in veth bridge; do try "network device $type" required "modprobe $type" link_type $type; done
try "network device vxlan" required "modprobe vxlan" in_netns \
  'ip link add x0 type vxlan id 1 dstport 4789 local 127.0.0.1 nolearning && ip link set x0 up && bridge fdb add 02:00:00:00:00:01 dev x0 dst 127.0.0.2 self permanent'
try "nftables: NAT, maps, conntrack marks" required "modprobe nf_tables nft_nat nft_numgen, or CONFIG_NF_TABLES" in_netns '
  nft "table inet t { chain c { type nat hook prerouting priority -100; tcp dport 80 ct mark set 1 dnat ip to numgen inc mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }; }; }"'
try "IPv4 forwarding can be switched on" required "mount /proc/sys read-write" in_netns 'echo 1 >/proc/sys/net/ipv4/ip_forward'
try "IPv6" degraded "IPv4 only; kernel command line ipv6.disable=0" test -e /proc/net/if_inet6
try "eBPF (bpffs)" degraded "virtual IPs by nftables alone, frames by bridges; CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF" unshare --mount mount -t bpf none /mnt
if link_type wireguard >/dev/null 2>&1; then ok "kernel WireGuard"
elif have wireguard-go; then degraded "kernel WireGuard" "encrypted networks through wireguard-go, a tenth of the speed"
else degraded "kernel WireGuard" "no encrypted networks: modprobe wireguard, or apt install wireguard-go wireguard-tools"; fi

if [ -w / ] && [ "$(df -Pk /var/lib 2>/dev/null | awk 'NR == 2 { print $4 }')" -lt 1048576 ]; then
  degraded "1 GiB free below /var/lib" "images may not fit: free space, or move --state-dir"
else
  ok "1 GiB free below /var/lib"
fi
for port in 4242/tcp 4243/tcp 4789/udp; do
  number=${port%/*} protocol=${port#*/}
  hex=$(printf ':%04X' "$number")
  state='0A'
  [ "$protocol" = udp ] && state='07'
  if awk -v p="$hex" -v s="$state" 'index($2, p) && $4 == s { f = 1 } END { exit !f }' "/proc/net/$protocol" "/proc/net/${protocol}6" 2>/dev/null; then
    degraded "port $port is free" "in use: by swarmd itself, or end the other program"
  else
    ok "port $port is free"
  fi
done
# A forward policy of another firewall wins over Starling's accept.
if have nft && nft list ruleset 2>/dev/null | grep -q 'hook forward.*policy drop'; then
  degraded "no foreign firewall drops forwarded traffic" "published ports may not answer: allow forwarding in Docker's or ufw's chain"
else
  ok "no foreign firewall drops forwarded traffic"
fi
exit $missing
