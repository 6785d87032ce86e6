#include "devices.h"

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <vector>

#include "../sys/fs.h"
#include "../sys/unique_fd.h"

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

bpf_insn Instruction(int code, int destination, int source, int offset, int immediate) {
  bpf_insn instruction;
  std::memset(&instruction, 0, sizeof instruction);
  instruction.code = static_cast<__u8>(code);
  instruction.dst_reg = static_cast<__u8>(destination) & 15;
  instruction.src_reg = static_cast<__u8>(source) & 15;
  instruction.off = static_cast<__s16>(offset);
  instruction.imm = immediate;
  return instruction;
}

bpf_insn JumpUnlessEqual(int reg, int value, int offset) {
  return Instruction(BPF_JMP | BPF_JNE | BPF_K, reg, 0, offset, value);
}
bpf_insn LoadImmediate(int reg, int value) { return Instruction(BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, value); }
bpf_insn LoadField(int reg, size_t offset) {
  return Instruction(BPF_LDX | BPF_MEM | BPF_W, reg, BPF_REG_1, static_cast<int>(offset), 0);
}
bpf_insn Exit() { return Instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

bpf_insn Copy(int to, int from) { return Instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0); }

// r2 = type, r3 = access, r4 = major, r5 = minor of the device asked for; 1 allows.
std::vector<bpf_insn> DeviceProgram(const std::vector<DeviceRule>& rules) {
  std::vector<bpf_insn> program = {
      LoadField(BPF_REG_2, offsetof(bpf_cgroup_dev_ctx, access_type)),
      Copy(BPF_REG_3, BPF_REG_2),
      Instruction(BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff),
      Instruction(BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16),
      LoadField(BPF_REG_4, offsetof(bpf_cgroup_dev_ctx, major)),
      LoadField(BPF_REG_5, offsetof(bpf_cgroup_dev_ctx, minor)),
      JumpUnlessEqual(BPF_REG_3, BPF_DEVCG_ACC_MKNOD, 2),
      LoadImmediate(BPF_REG_0, 1),
      Exit(),
  };
  for (const DeviceRule& rule : rules) {
    // One rule: tests that jump over the rest of it, then "allow".
    std::vector<bpf_insn> tests;
    if (rule.type != 'a') {
      tests.push_back(JumpUnlessEqual(BPF_REG_2, rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR, 0));
    }
    if (rule.major >= 0) tests.push_back(JumpUnlessEqual(BPF_REG_4, rule.major, 0));
    if (rule.minor >= 0) tests.push_back(JumpUnlessEqual(BPF_REG_5, rule.minor, 0));
    int allowed = (rule.read ? BPF_DEVCG_ACC_READ : 0) | (rule.write ? BPF_DEVCG_ACC_WRITE : 0) | BPF_DEVCG_ACC_MKNOD;
    tests.push_back(Copy(BPF_REG_6, BPF_REG_3));
    tests.push_back(Instruction(BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_6, 0, 0, ~allowed));
    tests.push_back(JumpUnlessEqual(BPF_REG_6, 0, 0));
    tests.push_back(LoadImmediate(BPF_REG_0, 1));
    tests.push_back(Exit());
    for (size_t i = 0; i < tests.size(); i++) {
      if (tests[i].code == (BPF_JMP | BPF_JNE | BPF_K)) tests[i].off = static_cast<__s16>(tests.size() - i - 1);
    }
    program.insert(program.end(), tests.begin(), tests.end());
  }
  program.push_back(LoadImmediate(BPF_REG_0, 0));
  program.push_back(Exit());
  return program;
}

long Bpf(int command, bpf_attr& attributes) { return syscall(SYS_bpf, command, &attributes, sizeof attributes); }

}  // namespace

Status AttachDeviceFilter(int cgroup_fd, const std::vector<DeviceRule>& rules) {
  if (AnyAllowsAll(rules)) return {};
  std::vector<bpf_insn> program = DeviceProgram(WithUsual(rules));
  static constexpr char kLicense[] = "Apache-2.0";
  bpf_attr load;
  std::memset(&load, 0, sizeof load);
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insns = reinterpret_cast<uint64_t>(program.data());
  load.insn_cnt = static_cast<__u32>(program.size());
  load.license = reinterpret_cast<uint64_t>(kLicense);
  UniqueFd fd(static_cast<int>(Bpf(BPF_PROG_LOAD, load)));
  if (!fd) return Error::Errno("bpf", "load device filter");
  bpf_attr attach;
  std::memset(&attach, 0, sizeof attach);
  attach.target_fd = static_cast<__u32>(cgroup_fd);
  attach.attach_bpf_fd = static_cast<__u32>(fd.get());
  attach.attach_type = BPF_CGROUP_DEVICE;
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  if (Bpf(BPF_PROG_ATTACH, attach) < 0) return Error::Errno("bpf", "attach device filter");
  return {};
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
