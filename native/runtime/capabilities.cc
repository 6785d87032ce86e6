#include "capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <iterator>

namespace starling {
namespace {

// Index is the number (linux/capability.h).
constexpr std::string_view kNames[] = {
    "CAP_CHOWN",           "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER",        "CAP_FSETID",
    "CAP_KILL",            "CAP_SETGID",       "CAP_SETUID",          "CAP_SETPCAP",       "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",     "CAP_NET_RAW",       "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",       "CAP_SYS_MODULE",   "CAP_SYS_RAWIO",       "CAP_SYS_CHROOT",    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",       "CAP_SYS_ADMIN",    "CAP_SYS_BOOT",        "CAP_SYS_NICE",      "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",        "CAP_SYS_TTY_CONFIG", "CAP_MKNOD",         "CAP_LEASE",         "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",   "CAP_SETFCAP",      "CAP_MAC_OVERRIDE",    "CAP_MAC_ADMIN",     "CAP_SYSLOG",
    "CAP_WAKE_ALARM",      "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ",     "CAP_PERFMON",       "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

}  // namespace

int CapabilityNumber(std::string_view name) {
  for (size_t i = 0; i < std::size(kNames); i++) {
    if (kNames[i] == name) return static_cast<int>(i);
  }
  return -1;
}

Status LimitBoundingSet(uint64_t wanted) {
  for (int number = 0; number < 64; number++) {
    if ((wanted >> number & 1) != 0) continue;
    // EINVAL: past the last capability of this kernel.
    if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0) {
      if (errno == EINVAL) break;
      return Error::Errno("prctl", "PR_CAPBSET_DROP");
    }
  }
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return Error::Errno("prctl", "PR_CAP_AMBIENT");
  return {};
}

Status SetCapabilities(uint64_t wanted) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) != 0) return Error::Errno("capget", "");
  for (int half = 0; half < 2; half++) {
    auto part = static_cast<uint32_t>(wanted >> (32 * half)) & data[half].permitted;
    data[half].effective = part;
    data[half].permitted = part;
    data[half].inheritable = 0;
  }
  if (syscall(SYS_capset, &header, data) != 0) return Error::Errno("capset", "");
  return {};
}

}  // namespace starling
