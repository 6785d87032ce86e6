#include "devices.h"

#include <linux/bpf.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "../sys/fs.h"
#include "device_filter.h"

namespace starling::cgroup {
namespace {

// Character devices, read and write (Documentation/admin-guide/devices.txt).
constexpr DeviceRule kUsual[] = {
    {'c', 1, 3, true, true, true},    // null
    {'c', 1, 5, true, true, true},    // zero
    {'c', 1, 7, true, true, true},    // full
    {'c', 1, 8, true, true, true},    // random
    {'c', 1, 9, true, true, true},    // urandom
    {'c', 5, 0, true, true, true},    // tty
    {'c', 5, 1, true, true, true},    // console
    {'c', 5, 2, true, true, true},    // ptmx
    {'c', 136, -1, true, true, true},  // pts/*
};

std::vector<DeviceRule> WithUsual(const std::vector<DeviceRule>& rules) {
  std::vector<DeviceRule> all(std::begin(kUsual), std::end(kUsual));
  all.insert(all.end(), rules.begin(), rules.end());
  return all;
}

bool AnyAllowsAll(const std::vector<DeviceRule>& rules) {
  return std::any_of(rules.begin(), rules.end(), [](const DeviceRule& rule) { return rule.AllowsAll(); });
}

// A filter's rule for one of ours; making any node is allowed besides.
DeviceAccess AccessOf(const DeviceRule& rule) {
  int type = rule.type == 'a' ? 0 : rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;
  int access = (rule.read ? BPF_DEVCG_ACC_READ : 0) | (rule.write ? BPF_DEVCG_ACC_WRITE : 0) | BPF_DEVCG_ACC_MKNOD;
  return {true, type, rule.major, rule.minor, access};
}

}  // namespace

Status AttachDeviceFilter(int cgroup_fd, const std::vector<DeviceRule>& rules) {
  if (AnyAllowsAll(rules)) return {};
  std::vector<DeviceAccess> program = {{true, 0, -1, -1, BPF_DEVCG_ACC_MKNOD}};
  for (const DeviceRule& rule : WithUsual(rules)) program.push_back(AccessOf(rule));
  return AttachDeviceRules(cgroup_fd, program);
}

Status LimitDevicesV1(const std::string& folder, const std::vector<DeviceRule>& rules) {
  if (AnyAllowsAll(rules)) return {};
  STARLING_TRY(fs::WriteControl(folder + "/devices.deny", "a"));
  STARLING_TRY(fs::WriteControl(folder + "/devices.allow", "c *:* m"));
  STARLING_TRY(fs::WriteControl(folder + "/devices.allow", "b *:* m"));
  auto number = [](int value) { return value < 0 ? std::string("*") : std::to_string(value); };
  for (const DeviceRule& rule : WithUsual(rules)) {
    std::string access = std::string(rule.read ? "r" : "") + (rule.write ? "w" : "") + "m";
    std::string device = " " + number(rule.major) + ":" + number(rule.minor) + " " + access;
    // The file's "a" would mean everything, whatever follows it.
    if (rule.type != 'b') STARLING_TRY(fs::WriteControl(folder + "/devices.allow", "c" + device));
    if (rule.type != 'c') STARLING_TRY(fs::WriteControl(folder + "/devices.allow", "b" + device));
  }
  return {};
}

}  // namespace starling::cgroup
