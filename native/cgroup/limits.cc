// How each limit is told to the kernel, in v1's files or v2's.
#include <unistd.h>

#include <algorithm>

#include "../sys/fs.h"
#include "cgroup.h"

namespace starling::cgroup {
namespace {

constexpr int64_t kCpuPeriodUs = 100'000;

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

// v1 shares 2 … 262144 to v2 weight 1 … 10000, the mapping that OCI runtimes share.
int64_t WeightOfShares(int64_t shares) {
  shares = std::clamp<int64_t>(shares, 2, 262144);
  return 1 + ((shares - 2) * 9999) / 262142;
}

// v1 blkio weight 10 … 1000 to v2 io.weight 1 … 10000, as above.
int64_t IoWeight(int64_t weight) { return 1 + (std::clamp<int64_t>(weight, 10, 1000) - 10) * 9999 / 990; }

Error Missing(std::string_view controller, std::string_view limit) {
  return Error{std::string(limit) + ": this host mounts no cgroup hierarchy with the " + std::string(controller) +
                   " controller",
               ENOTSUP};
}

// A v1 cpuset group takes processes only when both its lists are set, and they may have only what the group above has:
// each level that is empty gets what the one above it has.
Status InheritCpuset(const std::string& mount_point, const std::string& folder) {
  std::string level = mount_point;
  for (std::string_view part : fs::Split(std::string_view(folder).substr(mount_point.size()), '/')) {
    if (part.empty()) continue;
    std::string below = level + "/" + std::string(part);
    for (const char* list : {"/cpuset.cpus", "/cpuset.mems"}) {
      STARLING_ASSIGN(own, fs::ReadFile(below + list, 4096));
      if (own.find_first_not_of(" \n") != std::string::npos) continue;
      STARLING_ASSIGN(above, fs::ReadFile(level + list, 4096));
      STARLING_TRY(fs::WriteControl(below + list, above));
    }
    level = below;
  }
  return {};
}

}  // namespace

Status Cgroup::ApplyMemory(const Limits& limits) const {
  if (limits.swappiness >= 0) {
    const Group* group = Find("memory");
    if (group == nullptr) {
      return Error{"memory swappiness: control groups v2 have no such setting; set vm.swappiness on the host", ENOTSUP};
    }
    STARLING_TRY(fs::WriteControl(group->folder + "/memory.swappiness", std::to_string(limits.swappiness)));
  }
  if (limits.memory_bytes == 0 && limits.memory_reservation_bytes == 0) return {};
  std::string bytes = std::to_string(limits.memory_bytes);
  std::string reservation = std::to_string(limits.memory_reservation_bytes);
  if (const Group* group = Find("memory")) {
    if (limits.memory_bytes > 0) {
      STARLING_TRY(fs::WriteControl(group->folder + "/memory.limit_in_bytes", bytes));
      std::string with_swap = group->folder + "/memory.memsw.limit_in_bytes";
      std::string both = limits.swap_bytes < 0 ? "-1" : std::to_string(limits.memory_bytes + limits.swap_bytes);
      if (Exists(with_swap)) STARLING_TRY(fs::WriteControl(with_swap, both));
      else if (limits.swap_bytes > 0) return Error{"swap limit: this kernel does not account swap (swapaccount=1)", ENOTSUP};
    }
    if (limits.memory_reservation_bytes > 0) {
      STARLING_TRY(fs::WriteControl(group->folder + "/memory.soft_limit_in_bytes", reservation));
    }
    return {};
  }
  const Group* group = Unified();
  if (group == nullptr || !Exists(group->folder + "/memory.max")) return Missing("memory", "memory limit");
  if (limits.memory_bytes > 0) {
    STARLING_TRY(fs::WriteControl(group->folder + "/memory.max", bytes));
    if (Exists(group->folder + "/memory.swap.max")) {
      std::string swap = limits.swap_bytes < 0 ? "max" : std::to_string(limits.swap_bytes);
      STARLING_TRY(fs::WriteControl(group->folder + "/memory.swap.max", swap));
    } else if (limits.swap_bytes > 0) {
      return Error{"swap limit: this kernel does not account swap (swapaccount=1)", ENOTSUP};
    }
  }
  if (limits.memory_reservation_bytes > 0) {
    STARLING_TRY(fs::WriteControl(group->folder + "/memory.low", reservation));
  }
  return {};
}

Status Cgroup::ApplyCpu(const Limits& limits) const {
  if (limits.cpu_quota_us == 0 && limits.cpu_shares == 0) return {};
  // The kernel refuses quotas under 1 ms.
  std::string quota = std::to_string(std::max<int64_t>(limits.cpu_quota_us, 1'000));
  if (const Group* group = Find("cpu")) {
    if (limits.cpu_quota_us > 0) {
      STARLING_TRY(fs::WriteControl(group->folder + "/cpu.cfs_period_us", std::to_string(kCpuPeriodUs)));
      STARLING_TRY(fs::WriteControl(group->folder + "/cpu.cfs_quota_us", quota));
    }
    if (limits.cpu_shares > 0) {
      STARLING_TRY(fs::WriteControl(group->folder + "/cpu.shares", std::to_string(limits.cpu_shares)));
    }
    return {};
  }
  const Group* group = Unified();
  if (group == nullptr || !Exists(group->folder + "/cpu.max")) return Missing("cpu", "CPU limit");
  if (limits.cpu_quota_us > 0) {
    STARLING_TRY(fs::WriteControl(group->folder + "/cpu.max", quota + " " + std::to_string(kCpuPeriodUs)));
  }
  if (limits.cpu_shares > 0) {
    STARLING_TRY(fs::WriteControl(group->folder + "/cpu.weight", std::to_string(WeightOfShares(limits.cpu_shares))));
  }
  return {};
}

Status Cgroup::ApplyPids(const Limits& limits) const {
  if (limits.pids == 0) return {};
  const Group* group = Find("pids");
  if (group == nullptr) group = Unified();
  if (group == nullptr || !Exists(group->folder + "/pids.max")) return Missing("pids", "pids limit");
  return fs::WriteControl(group->folder + "/pids.max", std::to_string(limits.pids));
}

Status Cgroup::ApplyCpuset(const Limits& limits) const {
  if (limits.cpus.empty() && limits.memory_nodes.empty()) return {};
  const Group* group = Find("cpuset");
  if (group != nullptr) STARLING_TRY(InheritCpuset(group->hierarchy.mount_point, group->folder));
  if (group == nullptr) group = Unified();
  if (group == nullptr || !Exists(group->folder + "/cpuset.cpus")) return Missing("cpuset", "cpuset");
  if (!limits.cpus.empty()) STARLING_TRY(fs::WriteControl(group->folder + "/cpuset.cpus", limits.cpus));
  if (!limits.memory_nodes.empty()) STARLING_TRY(fs::WriteControl(group->folder + "/cpuset.mems", limits.memory_nodes));
  return {};
}

Status Cgroup::ApplyIo(const Limits& limits) const {
  if (limits.io_weight == 0 && limits.io_limits.empty()) return {};
  const Group* v1 = Find("blkio");
  const Group* v2 = Unified();
  if (v1 == nullptr && (v2 == nullptr || !Exists(v2->folder + "/io.max"))) return Missing("io", "block I/O limit");
  if (limits.io_weight > 0) {
    std::string weight = std::to_string(v1 != nullptr ? limits.io_weight : IoWeight(limits.io_weight));
    std::string folder = v1 != nullptr ? v1->folder + "/blkio." : v2->folder + "/io.";
    std::string file = Exists(folder + "bfq.weight") ? folder + "bfq.weight" : folder + "weight";
    if (!Exists(file)) {
      return Error{"block I/O weight: this kernel's I/O scheduler knows no weights (BFQ does)", ENOTSUP};
    }
    STARLING_TRY(fs::WriteControl(file, weight));
  }
  for (const IoLimit& limit : limits.io_limits) {
    std::string device = std::to_string(limit.major) + ":" + std::to_string(limit.minor) + " ";
    struct Rate {
      int64_t value;
      const char* v1;
      const char* v2;
    };
    for (const Rate& rate : {Rate{limit.read_bps, "read_bps", "rbps"}, Rate{limit.write_bps, "write_bps", "wbps"},
                             Rate{limit.read_iops, "read_iops", "riops"}, Rate{limit.write_iops, "write_iops", "wiops"}}) {
      if (rate.value == 0) continue;
      std::string value = std::to_string(rate.value);
      if (v1 != nullptr) {
        STARLING_TRY(fs::WriteControl(v1->folder + "/blkio.throttle." + rate.v1 + "_device", device + value));
      } else {
        STARLING_TRY(fs::WriteControl(v2->folder + "/io.max", device + rate.v2 + "=" + value));
      }
    }
  }
  return {};
}

}  // namespace starling::cgroup
