#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "../sys/fs.h"
#include "resources.h"

namespace starling::oci {
namespace {

// Where one controller's files of the container are, and which version it speaks.
class Controller {
 public:
  Controller(const cgroup::Cgroup& cgroup, std::string_view name, std::string_view v2_probe) : name_(name) {
    folder_ = cgroup.FolderOf(name);
    if (!folder_.empty()) return;
    std::string unified = cgroup.FolderOf("");
    if (unified.empty() || access((unified + "/" + std::string(v2_probe)).c_str(), F_OK) != 0) return;
    folder_ = unified;
    v2_ = true;
  }

  bool v2() const { return v2_; }
  bool Has(const std::string& file) const { return !folder_.empty() && access((folder_ + "/" + file).c_str(), F_OK) == 0; }

  // Writes `value` for `member`; empty `file`: this version of cgroups has nothing of the kind.
  Status Set(std::string_view member, const std::string& file, const std::string& value) const {
    std::string prefix = "linux.resources." + std::string(member) + ": ";
    if (folder_.empty()) return Error{prefix + "this host mounts no " + std::string(name_) + " controller", ENOTSUP};
    if (file.empty()) return Error{prefix + "cgroup v2 has nothing of the kind: leave it out", ENOTSUP};
    if (!Has(file)) return Error{prefix + "this kernel has no `" + file + "`", ENOTSUP};
    if (Status written = fs::WriteControl(folder_ + "/" + file, value); !written.ok()) {
      return Error{prefix + written.error().message, written.error().number};
    }
    return {};
  }

 private:
  std::string_view name_;
  std::string folder_;
  bool v2_ = false;
};

std::string MaxOr(int64_t value) { return value < 0 ? "max" : std::to_string(value); }

Status ApplyMemory(const Resources& r, const cgroup::Cgroup& cgroup) {
  Controller memory(cgroup, "memory", "memory.max");
  bool v2 = memory.v2();
  auto text = [&](int64_t value) { return v2 ? MaxOr(value) : std::to_string(value); };
  if (r.memory_limit) STARLING_TRY(memory.Set("memory.limit", v2 ? "memory.max" : "memory.limit_in_bytes", text(*r.memory_limit)));
  if (r.memory_reservation) {
    STARLING_TRY(memory.Set("memory.reservation", v2 ? "memory.low" : "memory.soft_limit_in_bytes", text(*r.memory_reservation)));
  }
  if (r.memory_swap && (*r.memory_swap > 0 || memory.Has(v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes"))) {
    // The member counts memory and swap together, v2's file swap alone.
    int64_t swap = v2 && *r.memory_swap >= 0 ? *r.memory_swap - std::max<int64_t>(r.memory_limit.value_or(0), 0) : *r.memory_swap;
    STARLING_TRY(memory.Set("memory.swap", v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes", text(swap)));
  }
  if (r.memory_kernel && (*r.memory_kernel >= 0 || memory.Has("memory.kmem.limit_in_bytes"))) {
    STARLING_TRY(memory.Set("memory.kernel", v2 ? "" : "memory.kmem.limit_in_bytes", std::to_string(*r.memory_kernel)));
  }
  if (r.memory_kernel_tcp && (*r.memory_kernel_tcp >= 0 || memory.Has("memory.kmem.tcp.limit_in_bytes"))) {
    STARLING_TRY(memory.Set("memory.kernelTCP", v2 ? "" : "memory.kmem.tcp.limit_in_bytes", std::to_string(*r.memory_kernel_tcp)));
  }
  if (r.memory_swappiness) {
    STARLING_TRY(memory.Set("memory.swappiness", v2 ? "" : "memory.swappiness", std::to_string(*r.memory_swappiness)));
  }
  if (r.disable_oom_killer.value_or(false)) {
    STARLING_TRY(memory.Set("memory.disableOOMKiller", v2 ? "" : "memory.oom_control", "1"));
  }
  if (r.use_hierarchy && !(v2 && *r.use_hierarchy)) {
    STARLING_TRY(memory.Set("memory.useHierarchy", v2 ? "" : "memory.use_hierarchy", *r.use_hierarchy ? "1" : "0"));
  }
  return {};
}

// v1 shares 2 … 262144 to v2 weight 1 … 10000.
uint64_t WeightOfShares(uint64_t shares) { return 1 + (std::clamp<uint64_t>(shares, 2, 262144) - 2) * 9999 / 262142; }

Status ApplyCpu(const Resources& r, const cgroup::Cgroup& cgroup) {
  Controller cpu(cgroup, "cpu", "cpu.weight");
  bool v2 = cpu.v2();
  if (r.cpu_shares.value_or(0) > 0) {
    std::string value = std::to_string(v2 ? WeightOfShares(*r.cpu_shares) : *r.cpu_shares);
    STARLING_TRY(cpu.Set("cpu.shares", v2 ? "cpu.weight" : "cpu.shares", value));
  }
  if (v2 && (r.cpu_quota || r.cpu_period)) {
    std::string quota = r.cpu_quota.value_or(-1) > 0 ? std::to_string(*r.cpu_quota) : "max";
    STARLING_TRY(cpu.Set("cpu.quota", "cpu.max", quota + " " + std::to_string(r.cpu_period.value_or(100'000))));
  }
  if (!v2 && r.cpu_period.value_or(0) > 0) {
    STARLING_TRY(cpu.Set("cpu.period", "cpu.cfs_period_us", std::to_string(*r.cpu_period)));
  }
  if (!v2 && r.cpu_quota.value_or(0) != 0) STARLING_TRY(cpu.Set("cpu.quota", "cpu.cfs_quota_us", std::to_string(*r.cpu_quota)));
  if (r.cpu_burst) STARLING_TRY(cpu.Set("cpu.burst", v2 ? "cpu.max.burst" : "cpu.cfs_burst_us", std::to_string(*r.cpu_burst)));
  if (r.cpu_realtime_period) {
    STARLING_TRY(cpu.Set("cpu.realtimePeriod", v2 ? "" : "cpu.rt_period_us", std::to_string(*r.cpu_realtime_period)));
  }
  if (r.cpu_realtime_runtime) {
    STARLING_TRY(cpu.Set("cpu.realtimeRuntime", v2 ? "" : "cpu.rt_runtime_us", std::to_string(*r.cpu_realtime_runtime)));
  }
  if (r.cpu_idle) STARLING_TRY(cpu.Set("cpu.idle", "cpu.idle", std::to_string(*r.cpu_idle)));
  Controller sets(cgroup, "cpuset", "cpuset.cpus");
  if (!r.cpus.empty()) STARLING_TRY(sets.Set("cpu.cpus", "cpuset.cpus", r.cpus));
  if (!r.mems.empty()) STARLING_TRY(sets.Set("cpu.mems", "cpuset.mems", r.mems));
  return {};
}

Status ApplyBlockIo(const Resources& r, const cgroup::Cgroup& cgroup) {
  Controller io(cgroup, "blkio", "io.max");
  auto weight_file = [&](const std::string& plain) { return io.Has("blkio." + plain) ? "blkio." + plain : "blkio.bfq." + plain; };
  if (r.io_weight.value_or(0) > 0) {
    // v1's 10 … 1000 to v2's 1 … 10000.
    uint64_t v2_weight = 1 + (std::clamp<uint64_t>(*r.io_weight, 10, 1000) - 10) * 9999 / 990;
    bool bfq = io.v2() && io.Has("io.bfq.weight");
    std::string file = !io.v2() ? weight_file("weight") : bfq ? "io.bfq.weight" : "io.weight";
    STARLING_TRY(io.Set("blockIO.weight", file, std::to_string(io.v2() && !bfq ? v2_weight : *r.io_weight)));
  }
  if (r.io_leaf_weight.value_or(0) > 0) {
    STARLING_TRY(io.Set("blockIO.leafWeight", io.v2() ? "" : "blkio.leaf_weight", std::to_string(*r.io_leaf_weight)));
  }
  for (const DeviceRate& rate : r.io_devices) {
    std::string device = std::to_string(rate.major) + ":" + std::to_string(rate.minor) + " ";
    bool weight = rate.v2_key.empty() || rate.v2_key == "weight";
    std::string member = "blockIO, device " + device + rate.v1_file;
    if (!io.v2()) {
      std::string file = weight ? weight_file(rate.v1_file) : "blkio." + rate.v1_file;
      STARLING_TRY(io.Set(member, file, device + std::to_string(rate.value)));
    } else if (weight) {
      STARLING_TRY(io.Set(member, rate.v2_key.empty() ? "" : "io.bfq.weight", device + std::to_string(rate.value)));
    } else {
      STARLING_TRY(io.Set(member, "io.max", device + rate.v2_key + "=" + std::to_string(rate.value)));
    }
  }
  return {};
}

Status ApplyRest(const Resources& r, const cgroup::Cgroup& cgroup) {
  if (r.pids.value_or(0) != 0) STARLING_TRY(Controller(cgroup, "pids", "pids.max").Set("pids.limit", "pids.max", MaxOr(*r.pids)));
  for (const auto& [size, bytes] : r.huge_pages) {
    Controller hugetlb(cgroup, "hugetlb", "hugetlb." + size + ".max");
    std::string reserved = "hugetlb." + size + (hugetlb.v2() ? ".rsvd.max" : ".rsvd.limit_in_bytes");
    std::string used = "hugetlb." + size + (hugetlb.v2() ? ".max" : ".limit_in_bytes");
    STARLING_TRY(hugetlb.Set("hugepageLimits", hugetlb.Has(reserved) ? reserved : used, std::to_string(bytes)));
  }
  if (r.network_class) {
    Controller classes(cgroup, "net_cls", "net_cls.classid");
    STARLING_TRY(classes.Set("network.classID", "net_cls.classid", std::to_string(*r.network_class)));
  }
  for (const auto& [name, priority] : r.network_priorities) {
    Controller priorities(cgroup, "net_prio", "net_prio.ifpriomap");
    STARLING_TRY(priorities.Set("network.priorities", "net_prio.ifpriomap", name + " " + std::to_string(priority)));
  }
  for (const auto& [device, limits] : r.rdma) {
    STARLING_TRY(Controller(cgroup, "rdma", "rdma.max").Set("rdma", "rdma.max", device + limits));
  }
  std::string unified = cgroup.FolderOf("");
  for (const auto& [file, value] : r.unified) {
    std::string member = "linux.resources.unified[\"" + file + "\"]: ";
    if (unified.empty()) return Error{member + "this host mounts no cgroup v2 hierarchy", ENOTSUP};
    if (Status written = fs::WriteControl(unified + "/" + file, value); !written.ok()) {
      return Error{member + written.error().message, written.error().number};
    }
  }
  return {};
}

// A new v1 cpuset is empty, and an empty one takes no process: each level takes over what the one above has.
void FillCpusets(const std::string& folder) {
  if (folder.empty() || access((folder + "/cpuset.cpus").c_str(), F_OK) != 0) return;
  for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
    auto own = fs::ReadFile(folder + file);
    if (!own.ok() || own->find_first_not_of(" \n") != std::string::npos) continue;
    FillCpusets(fs::Parent(folder));
    auto above = fs::ReadFile(fs::Parent(folder) + file);
    if (above.ok()) (void)fs::WriteControl(folder + file, *above).ok();
  }
}

}  // namespace

bool NeedsEveryHierarchy(const Resources& r) {
  return !r.cpus.empty() || !r.mems.empty() || r.io_weight || r.io_leaf_weight || !r.io_devices.empty() || !r.huge_pages.empty() ||
         r.network_class || !r.network_priorities.empty() || !r.rdma.empty();
}

Status ApplyResources(const Resources& resources, const cgroup::Cgroup& cgroup) {
  FillCpusets(cgroup.FolderOf("cpuset"));
  STARLING_TRY(ApplyMemory(resources, cgroup));
  STARLING_TRY(ApplyCpu(resources, cgroup));
  STARLING_TRY(ApplyBlockIo(resources, cgroup));
  return ApplyRest(resources, cgroup);
}

}  // namespace starling::oci
