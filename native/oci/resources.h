// linux.resources: values to be written to control files of cgroup v1 or v2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../base/json.h"
#include "../base/result.h"
#include "../cgroup/cgroup.h"

namespace starling::oci {

struct DeviceRule {
  bool allow = false;
  // 'a' all, 'c', 'b'
  char type = 'a';
  // -1: every one.
  int64_t major = -1;
  int64_t minor = -1;
  bool read = true;
  bool write = true;
  bool make = true;
};

struct DeviceRate {
  // As the control files name them: "throttle.read_bps_device", v2's "rbps"; `weight` for weights.
  std::string v1_file;
  std::string v2_key;
  int64_t major = 0;
  int64_t minor = 0;
  uint64_t value = 0;
};

struct Resources {
  std::vector<DeviceRule> devices;
  std::optional<int64_t> memory_limit, memory_reservation, memory_swap, memory_kernel, memory_kernel_tcp;
  std::optional<uint64_t> memory_swappiness;
  std::optional<bool> disable_oom_killer, use_hierarchy;
  bool check_before_update = false;
  std::optional<uint64_t> cpu_shares, cpu_period, cpu_burst, cpu_realtime_period;
  std::optional<int64_t> cpu_quota, cpu_realtime_runtime, cpu_idle;
  std::string cpus, mems;
  std::optional<int64_t> pids;
  std::optional<uint64_t> io_weight, io_leaf_weight;
  std::vector<DeviceRate> io_devices;
  // page size → bytes
  std::vector<std::pair<std::string, uint64_t>> huge_pages;
  std::optional<uint32_t> network_class;
  std::vector<std::pair<std::string, uint32_t>> network_priorities;
  // device → "hca_handle=3 hca_object=100"
  std::vector<std::pair<std::string, std::string>> rdma;
  // file of the v2 group → value
  std::vector<std::pair<std::string, std::string>> unified;
};

Resources ReadResources(const json::Reader& reader);

// Whether a limit needs a v1 hierarchy beside those that every container is in: each costs a process milliseconds to join.
bool NeedsEveryHierarchy(const Resources& resources);

// Writes all of it. REQUIRES: the groups exist. An error names the member and what the host lacks.
Status ApplyResources(const Resources& resources, const cgroup::Cgroup& cgroup);

// The devices a container may use: none but the default ones, then `rules` in their order. By an eBPF program on the
// v2 group where there is one, else by the v1 controller.
Status ApplyDeviceRules(const std::vector<DeviceRule>& rules, const cgroup::Cgroup& cgroup);

}  // namespace starling::oci
