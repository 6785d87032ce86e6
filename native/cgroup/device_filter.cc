#include "device_filter.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "../sys/unique_fd.h"

namespace starling::cgroup {
namespace {

constexpr int kAllAccess = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;

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

bpf_insn LoadImmediate(int reg, int value) { return Instruction(BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, value); }
bpf_insn LoadField(int reg, size_t offset) {
  return Instruction(BPF_LDX | BPF_MEM | BPF_W, reg, BPF_REG_1, static_cast<int>(offset), 0);
}
bpf_insn Exit() { return Instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

// Rules side by side that differ in the minor number alone.
struct RuleGroup {
  DeviceAccess rule;
  // Empty: every one.
  std::vector<int64_t> minors;
};

// The last rule first: the first that speaks decides.
std::vector<RuleGroup> GroupsOf(const std::vector<DeviceAccess>& rules) {
  std::vector<RuleGroup> groups;
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    auto alike = [&](const DeviceAccess& other) {
      return other.allow == rule->allow && other.type == rule->type && other.major == rule->major && other.access == rule->access;
    };
    bool every = rule->minor < 0;
    if (!groups.empty() && alike(groups.back().rule) && groups.back().minors.empty() == every) {
      if (!every) groups.back().minors.push_back(rule->minor);
    } else {
      groups.push_back({*rule, every ? std::vector<int64_t>{} : std::vector<int64_t>{rule->minor}});
    }
  }
  return groups;
}

bool AllowsEverything(const RuleGroup& group) {
  const DeviceAccess& rule = group.rule;
  return rule.allow && rule.type == 0 && rule.major < 0 && group.minors.empty() && rule.access == kAllAccess;
}

// Instructions of one group; what it does not speak of falls out of its end. Short, since each container's start waits for the
// kernel's verifier. r2 = type, r3 = access, r4 = major, r5 = minor of the device asked for.
std::vector<bpf_insn> GroupProgram(const RuleGroup& group) {
  const DeviceAccess& rule = group.rule;
  std::vector<bpf_insn> program;
  std::vector<size_t> to_end;
  std::vector<size_t> to_verdict;
  auto jump = [&](std::vector<size_t>& target, int operation, int reg, int64_t value) {
    target.push_back(program.size());
    // Compared in 32 bits, as the context holds them.
    program.push_back(Instruction(BPF_JMP32 | operation | BPF_K, reg, 0, 0, static_cast<int>(static_cast<uint32_t>(value))));
  };
  if (rule.type != 0) jump(to_end, BPF_JNE, BPF_REG_2, rule.type);
  if (rule.major >= 0) jump(to_end, BPF_JNE, BPF_REG_4, rule.major);
  // allow: nothing is asked for beyond the rule's access; deny: something of it is.
  int mask = rule.allow ? kAllAccess & ~rule.access : kAllAccess & rule.access;
  if (!rule.allow || mask != 0) {
    program.push_back(Instruction(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_0, BPF_REG_3, 0, 0));
    program.push_back(Instruction(BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_0, 0, 0, mask));
    jump(to_end, rule.allow ? BPF_JNE : BPF_JEQ, BPF_REG_0, 0);
  }
  for (size_t i = 0; i < group.minors.size(); i++) {
    bool last = i + 1 == group.minors.size();
    jump(last ? to_end : to_verdict, last ? BPF_JNE : BPF_JEQ, BPF_REG_5, group.minors[i]);
  }
  size_t verdict = program.size();
  program.push_back(LoadImmediate(BPF_REG_0, rule.allow ? 1 : 0));
  program.push_back(Exit());
  for (size_t at : to_verdict) program[at].off = static_cast<__s16>(verdict - at - 1);
  for (size_t at : to_end) program[at].off = static_cast<__s16>(program.size() - at - 1);
  return program;
}

long Bpf(int command, bpf_attr& attributes) { return syscall(SYS_bpf, command, &attributes, sizeof attributes); }

}  // namespace

std::vector<bpf_insn> DeviceProgram(const std::vector<DeviceAccess>& rules) {
  std::vector<bpf_insn> program = {
      LoadField(BPF_REG_2, offsetof(bpf_cgroup_dev_ctx, access_type)),
      Instruction(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0),
      Instruction(BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff),
      Instruction(BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16),
      LoadField(BPF_REG_4, offsetof(bpf_cgroup_dev_ctx, major)),
      LoadField(BPF_REG_5, offsetof(bpf_cgroup_dev_ctx, minor)),
  };
  for (const RuleGroup& group : GroupsOf(rules)) {
    std::vector<bpf_insn> part = GroupProgram(group);
    program.insert(program.end(), part.begin(), part.end());
    // The verifier takes no instruction that is never reached.
    if (AllowsEverything(group)) return program;
  }
  program.push_back(LoadImmediate(BPF_REG_0, 0));
  program.push_back(Exit());
  return program;
}

Status AttachDeviceRules(int cgroup_fd, const std::vector<DeviceAccess>& rules) {
  std::vector<bpf_insn> program = DeviceProgram(rules);
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

}  // namespace starling::cgroup
