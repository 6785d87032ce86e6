#include <linux/bpf.h>

#include "../cgroup/device_filter.h"
#include "../sys/fs.h"
#include "resources.h"

namespace starling::oci {
namespace {

constexpr DeviceRule kMakeOnly{true, 'a', -1, -1, false, false, true};

std::vector<DeviceRule> DefaultRules() {
  std::vector<DeviceRule> rules;
  DeviceRule make = kMakeOnly;
  for (char type : {'c', 'b'}) {
    make.type = type;
    rules.push_back(make);
  }
  // null, zero, full, random, urandom, tty, console, ptmx, pts (Documentation/admin-guide/devices.txt)
  constexpr int kDevices[][2] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}, {136, -1}};
  for (const auto& device : kDevices) rules.push_back({true, 'c', device[0], device[1], true, true, true});
  return rules;
}

std::string V1Line(const DeviceRule& rule, char type) {
  auto number = [](int64_t value) { return value < 0 ? std::string("*") : std::to_string(value); };
  std::string line = std::string(1, type) + " " + number(rule.major) + ":" + number(rule.minor) + " ";
  if (rule.read) line.push_back('r');
  if (rule.write) line.push_back('w');
  if (rule.make) line.push_back('m');
  return line;
}

// "a" there stands for everything whatever numbers and access follow: a rule for both types becomes two.
Status ApplyV1(const std::string& folder, const std::vector<DeviceRule>& rules) {
  STARLING_TRY(fs::WriteControl(folder + "/devices.deny", "a"));
  for (const DeviceRule& rule : rules) {
    std::string file = folder + (rule.allow ? "/devices.allow" : "/devices.deny");
    bool all = rule.type == 'a' && rule.major < 0 && rule.minor < 0 && rule.read && rule.write && rule.make;
    if (all) {
      STARLING_TRY(fs::WriteControl(file, "a"));
      continue;
    }
    for (char type : {'c', 'b'}) {
      if (rule.type != 'a' && rule.type != type) continue;
      STARLING_TRY(fs::WriteControl(file, V1Line(rule, type)));
    }
  }
  return {};
}

}  // namespace

Status ApplyDeviceRules(const std::vector<DeviceRule>& rules, const cgroup::Cgroup& group) {
  std::vector<DeviceRule> all = rules;
  for (const DeviceRule& rule : DefaultRules()) all.push_back(rule);
  std::string v1 = group.FolderOf("devices");
  Status applied;
  if (group.v2_fd() >= 0) {
    std::vector<cgroup::DeviceAccess> program;
    for (const DeviceRule& rule : all) {
      int access = (rule.read ? BPF_DEVCG_ACC_READ : 0) | (rule.write ? BPF_DEVCG_ACC_WRITE : 0) | (rule.make ? BPF_DEVCG_ACC_MKNOD : 0);
      int type = rule.type == 'a' ? 0 : rule.type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK;
      program.push_back({rule.allow, type, rule.major, rule.minor, access});
    }
    applied = cgroup::AttachDeviceRules(group.v2_fd(), program);
  } else if (!v1.empty()) {
    applied = ApplyV1(v1, all);
  } else {
    return Error{"linux.resources.devices: this host mounts neither the devices controller nor cgroup v2", ENOTSUP};
  }
  if (applied.ok()) return {};
  return Error{"linux.resources.devices: " + applied.error().message, applied.error().number};
}

}  // namespace starling::oci
