#!/bin/sh
# Installs Starling on a real host, from a folder that `npm run build` made (dist/), as root:
#   deploy/install.sh [--prefix DIR] [--no-start] [FLAGS FOR swarmd…]
# e.g.  deploy/install.sh --advertise-remote-api 10.0.0.2:4242 --join-addr 10.0.0.1:4242 --join-token SWMTKN-1-…
# Running it again upgrades: containers go on while swarmd is replaced. Given no flags, the old ones stay.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dist=$here/../dist
prefix=/usr/local
start=yes

fail() { echo "install: $*" >&2; exit 1; }

while [ $# -gt 0 ]; do
  case $1 in
    --prefix) [ $# -ge 2 ] || fail "--prefix needs a folder"; prefix=$2; shift 2 ;;
    --no-start) start=no; shift ;;
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) break ;;
  esac
done
[ "$(id -u)" = 0 ] || fail "run as root"
[ -x "$dist/bin/swarmd" ] || fail "$dist/bin/swarmd is missing: run \`npm run build\` first"
sh "$here/check-host.sh" | grep -v '^ok' || true
sh "$here/check-host.sh" >/dev/null || fail "this host lacks what the lines above call missing"

# Beside the old version, then swapped, so that there is never half an installation.
lib=$prefix/lib/starling
mkdir -p "$prefix/lib" "$prefix/bin"
rm -rf "$lib.new"
cp -a "$dist" "$lib.new"
rm -rf "$lib.old"
[ ! -e "$lib" ] || mv "$lib" "$lib.old"
mv "$lib.new" "$lib"
for program in swarmd swarmctl; do ln -sfn "$lib/bin/$program" "$prefix/bin/$program"; done
# Old files stay until every container that was started with them could have ended: shims are running programs.

if [ $# -gt 0 ]; then
  mkdir -p /etc/default
  (umask 077 && printf 'SWARMD_FLAGS=%s\n' "$*" >/etc/default/swarmd)
fi

if [ -d /run/systemd/system ]; then
  for unit in swarmd.service starling.slice; do
    sed "s#/usr/local#$prefix#g" "$here/systemd/$unit" >"/etc/systemd/system/$unit"
  done
  systemctl daemon-reload
  systemctl enable swarmd.service
  [ "$start" = no ] || systemctl restart swarmd.service
  echo "install: done; see: systemctl status swarmd; swarmctl node ls"
else
  echo "install: done; no systemd here: start $prefix/bin/swarmd --state-dir /var/lib/swarmd yourself"
fi
