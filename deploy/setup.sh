#!/bin/sh
# Installs what Starling's tests and demo need on a fresh Debian 12 (amd64 or arm64), and the Debian packages named as arguments, as root; idempotent, and under a
# second when all is there. Steps: Debian packages, npm packages, generated protobuf code, native build.
# No service is started: Debian's daemons (registry, etcd, Prometheus) are run by tests on hosts of their own.
set -eu
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 1; }
step() { echo "setup: $*" >&2; }

# docker.io: a Docker Engine that joins our swarm and has ours join its. wrk: load on balancers. dnsperf: load on name servers. gcc, libc6-dev: native/ and the test hosts' init. clang, libbpf-dev, bpftool: eBPF programs. libzstd-dev, zlib1g-dev: layers.
# libclang-rt-14-dev: libFuzzer and sanitizers of clang. user-mode-linux: kernels with other control groups. busybox-static: what runs in containers that need no image.
packages="build-essential python3 libc6-dev libseccomp-dev libzstd-dev zlib1g-dev libbpf-dev clang llvm bpftool
  iproute2 iputils-ping nftables conntrack util-linux curl ca-certificates openssl attr libcap2-bin procps xz-utils
  docker-registry docker.io iperf3 wrk dnsperf etcd-server prometheus crun skopeo umoci
  libclang-rt-14-dev user-mode-linux busybox-static"

missing=""
# Encrypted networks where the kernel has no WireGuard; what tests see on the wire.
packages="$packages wireguard-go wireguard-tools tcpdump"
# What only some command needs.
packages="$packages $*"
for p in $packages; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
done
if [ -n "$missing" ]; then
  [ "$(id -u)" = 0 ] || fail "needs root to install:$missing"
  command -v apt-get >/dev/null || fail "no apt-get here; install these by hand:$missing"
  step "installing$missing"
  policy=/usr/sbin/policy-rc.d
  made_policy=""
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made_policy=1
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
  fi
  apt="apt-get -o DPkg::Lock::Timeout=300 -o APT::Update::Error-Mode=any -qq"
  log=$(mktemp)
  $apt update >"$log" 2>&1 || { cat "$log" >&2; fail "apt-get update failed"; }
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive $apt install -y --no-install-recommends $missing >"$log" 2>&1 ||
    { tail -n 30 "$log" >&2; fail "apt-get install failed:$missing"; }
  rm -f "$log"
  [ -z "$made_policy" ] || { rm -f $policy; trap - EXIT INT TERM HUP; }
fi

# npm packages: exactly the lock file's (they bring Node 24). Only when what is installed differs from the lock file:
# another run may be using node_modules. Not npm ci: it refuses a lock file that lacks optional packages of platforms that
# we do not run on, which is what npm writes where a registry does not carry them.
command -v npm >/dev/null || fail "npm is missing: install Debian's packages nodejs and npm"
if ! [ -x node_modules/.bin/node ] || ! node deploy/lock-is-installed.cjs; then
  step "npm install"
  npm install --no-save --no-audit --no-fund --loglevel=error >&2
fi
PATH="$PWD/node_modules/.bin:$PATH"
export PATH
case "$(node --version)" in v24.*) ;; *) fail "node_modules/.bin/node is $(node --version), need v24: remove node_modules and run this again" ;; esac

# A hash of all files below the given folders.
content_hash() { find "$@" -type f -exec sha256sum {} + 2>/dev/null | LC_ALL=C sort | sha256sum | cut -d' ' -f1; }
mkdir -p .cache

hash=$(content_hash proto)
if ! [ -d services/api/gen ] || [ "$(cat .cache/proto.hash 2>/dev/null)" != "$hash" ]; then
  step "generating services/api/gen"
  node proto/generate.ts
  echo "$hash" >.cache/proto.hash
fi

# Builds nothing when the sources are those of its last build.
node native/build.ts
