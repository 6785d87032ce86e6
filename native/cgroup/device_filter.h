// An eBPF program that decides which devices the processes of a v2 group may use (kernel ≥ 4.15).
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <vector>

#include "../base/result.h"

namespace starling::cgroup {

struct DeviceAccess {
  bool allow = false;
  // BPF_DEVCG_DEV_CHAR, BPF_DEVCG_DEV_BLOCK; 0: both.
  int type = 0;
  // -1: every one.
  int64_t major = -1;
  int64_t minor = -1;
  // BPF_DEVCG_ACC_…, any of
  int access = 0;
};

// What no rule speaks of is refused; of several the last counts. An access of two kinds is allowed by a rule for both, and
// refused by a rule for either.
std::vector<bpf_insn> DeviceProgram(const std::vector<DeviceAccess>& rules);

Status AttachDeviceRules(int cgroup_fd, const std::vector<DeviceAccess>& rules);

}  // namespace starling::cgroup
