// Which device nodes a container may open: the harmless ones that every OCI runtime gives (null, zero, full, random,
// urandom, tty, console, ptys) and those of its rules; mknod of any node is allowed, opening it is not.
#pragma once

#include <string>
#include <vector>

#include "../base/result.h"

namespace starling::cgroup {

// Lets through what it names. A rule for all devices and every access means no filter at all.
struct DeviceRule {
  // 'c', 'b', or 'a' for both.
  char type = 'c';
  // -1: every one.
  int major = -1;
  int minor = -1;
  bool read = false;
  bool write = false;
  bool mknod = false;

  bool AllowsAll() const { return type == 'a' && major < 0 && minor < 0 && read && write && mknod; }
};

// By an eBPF program on the v2 group that `cgroup_fd` is (kernel ≥ 4.15).
Status AttachDeviceFilter(int cgroup_fd, const std::vector<DeviceRule>& rules);

// By the v1 devices controller.
Status LimitDevicesV1(const std::string& folder, const std::vector<DeviceRule>& rules);

}  // namespace starling::cgroup
