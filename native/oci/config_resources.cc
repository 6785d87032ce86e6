#include "resources.h"

namespace starling::oci {
namespace {

constexpr int64_t kLeast = INT64_MIN;
constexpr int64_t kMost = INT64_MAX;

std::optional<int64_t> OptionalInt(const json::Reader& reader, const char* key, int64_t least = -1, int64_t most = kMost) {
  if (!reader.Has(key)) return std::nullopt;
  return reader.Int(key, 0, least, most);
}
std::optional<uint64_t> OptionalUint(const json::Reader& reader, const char* key, uint64_t most = UINT64_MAX) {
  if (!reader.Has(key)) return std::nullopt;
  return reader.Uint(key, 0, most);
}
std::optional<bool> OptionalBool(const json::Reader& reader, const char* key) {
  if (!reader.Has(key)) return std::nullopt;
  return reader.Bool(key, false);
}

void ReadDeviceRules(const json::Reader& reader, Resources& resources) {
  for (const json::Reader& item : reader.Objects("devices")) {
    DeviceRule rule;
    if (!item.Has("allow")) item.Fault("allow", "must be set");
    rule.allow = item.Bool("allow", false);
    std::string type = item.String("type", "a");
    if (type.empty()) type = "a";
    if (type != "a" && type != "b" && type != "c") item.Fault("type", "must be a, b or c, not `" + type + "`");
    rule.type = type[0];
    rule.major = item.Int("major", -1, -1, UINT32_MAX);
    rule.minor = item.Int("minor", -1, -1, UINT32_MAX);
    std::string access = item.String("access", "rwm");
    if (access.empty()) access = "rwm";
    if (access.find_first_not_of("rwm") != std::string::npos) item.Fault("access", "must be made of r, w and m");
    rule.read = access.find('r') != std::string::npos;
    rule.write = access.find('w') != std::string::npos;
    rule.make = access.find('m') != std::string::npos;
    resources.devices.push_back(rule);
  }
}

void ReadMemory(const json::Reader& memory, Resources& resources) {
  resources.memory_limit = OptionalInt(memory, "limit");
  resources.memory_reservation = OptionalInt(memory, "reservation");
  resources.memory_swap = OptionalInt(memory, "swap");
  resources.memory_kernel = OptionalInt(memory, "kernel");
  resources.memory_kernel_tcp = OptionalInt(memory, "kernelTCP");
  resources.memory_swappiness = OptionalUint(memory, "swappiness", 100);
  resources.disable_oom_killer = OptionalBool(memory, "disableOOMKiller");
  resources.use_hierarchy = OptionalBool(memory, "useHierarchy");
  resources.check_before_update = memory.Bool("checkBeforeUpdate", false);
  if (resources.memory_swap.value_or(-1) > 0 && resources.memory_limit.value_or(-1) > *resources.memory_swap) {
    memory.Fault("swap", "is memory and swap together: must not be under `limit`");
  }
}

void ReadCpu(const json::Reader& cpu, Resources& resources) {
  resources.cpu_shares = OptionalUint(cpu, "shares");
  resources.cpu_quota = OptionalInt(cpu, "quota", kLeast);
  resources.cpu_burst = OptionalUint(cpu, "burst");
  resources.cpu_period = OptionalUint(cpu, "period");
  resources.cpu_realtime_runtime = OptionalInt(cpu, "realtimeRuntime", kLeast);
  resources.cpu_realtime_period = OptionalUint(cpu, "realtimePeriod");
  resources.cpu_idle = OptionalInt(cpu, "idle", 0, 1);
  resources.cpus = cpu.String("cpus");
  resources.mems = cpu.String("mems");
}

void ReadBlockIo(const json::Reader& io, Resources& resources) {
  resources.io_weight = OptionalUint(io, "weight", UINT16_MAX);
  resources.io_leaf_weight = OptionalUint(io, "leafWeight", UINT16_MAX);
  auto read = [&](const char* list, const char* member, const char* v1_file, const char* v2_key, bool required) {
    for (const json::Reader& item : io.Objects(list)) {
      if (!item.Has("major") || !item.Has("minor")) item.Fault("major", "must be set, and `minor` too");
      if (required && !item.Has(member)) item.Fault(member, "must be set");
      if (!item.Has(member)) continue;
      resources.io_devices.push_back(
          {v1_file, v2_key, item.Int("major", 0, 0, UINT32_MAX), item.Int("minor", 0, 0, UINT32_MAX), item.Uint(member, 0)});
    }
  };
  read("weightDevice", "weight", "weight_device", "weight", false);
  read("weightDevice", "leafWeight", "leaf_weight_device", "", false);
  read("throttleReadBpsDevice", "rate", "throttle.read_bps_device", "rbps", true);
  read("throttleWriteBpsDevice", "rate", "throttle.write_bps_device", "wbps", true);
  read("throttleReadIOPSDevice", "rate", "throttle.read_iops_device", "riops", true);
  read("throttleWriteIOPSDevice", "rate", "throttle.write_iops_device", "wiops", true);
}

// The name becomes part of a control file's name.
void CheckFileName(const json::Reader& reader, const char* key, const std::string& name) {
  if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos || name.starts_with('.')) {
    reader.Fault(key, "`" + name + "` is no name of a control file");
  }
}

void ReadRest(const json::Reader& reader, Resources& resources) {
  json::Reader pids = reader.Child("pids");
  resources.pids = OptionalInt(pids, "limit", kLeast);
  for (const json::Reader& item : reader.Objects("hugepageLimits")) {
    std::string size = item.String("pageSize");
    CheckFileName(item, "pageSize", size);
    resources.huge_pages.emplace_back(size, item.Uint("limit", 0));
  }
  json::Reader network = reader.Child("network");
  if (network.Has("classID")) resources.network_class = static_cast<uint32_t>(network.Uint("classID", 0, UINT32_MAX));
  for (const json::Reader& item : network.Objects("priorities")) {
    resources.network_priorities.emplace_back(item.String("name"), static_cast<uint32_t>(item.Uint("priority", 0, UINT32_MAX)));
  }
  for (const auto& [device, item] : reader.Children("rdma")) {
    std::string limits;
    if (item.Has("hcaHandles")) limits += " hca_handle=" + std::to_string(item.Uint("hcaHandles", 0, UINT32_MAX));
    if (item.Has("hcaObjects")) limits += " hca_object=" + std::to_string(item.Uint("hcaObjects", 0, UINT32_MAX));
    if (limits.empty()) item.Fault("hcaHandles", "must be set, or `hcaObjects`");
    resources.rdma.emplace_back(device, limits);
  }
  resources.unified = reader.Map("unified");
  for (const auto& [file, value] : resources.unified) CheckFileName(reader, "unified", file);
}

}  // namespace

Resources ReadResources(const json::Reader& reader) {
  Resources resources;
  ReadDeviceRules(reader, resources);
  ReadMemory(reader.Child("memory"), resources);
  ReadCpu(reader.Child("cpu"), resources);
  ReadBlockIo(reader.Child("blockIO"), resources);
  ReadRest(reader, resources);
  return resources;
}

}  // namespace starling::oci
