// Which device nodes a container may open: the harmless ones that every OCI runtime gives (null, zero, full, random,
// urandom, tty, console, ptys); mknod of any node is allowed, opening it is not.
#pragma once

#include <string>

#include "../base/result.h"

namespace starling::cgroup {

// By an eBPF program on the v2 group that `cgroup_fd` is (kernel ≥ 4.15).
Status AttachDeviceFilter(int cgroup_fd);

// By the v1 devices controller.
Status LimitDevicesV1(const std::string& folder);

}  // namespace starling::cgroup
