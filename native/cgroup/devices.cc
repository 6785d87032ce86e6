#include "devices.h"

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "../sys/fs.h"
#include "../sys/unique_fd.h"

namespace starling::cgroup {
namespace {

struct AllowedDevice {
  int major;
  // -1: every minor.
  int minor;
};

// Character devices, read and write (Documentation/admin-guide/devices.txt).
constexpr AllowedDevice kAllowed[] = {
    {1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9},  // null, zero, full, random, urandom
    {5, 0}, {5, 1}, {5, 2},                  // tty, console, ptmx
    {136, -1},                               // pts/*
};

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

// r2 = type, r3 = access, r4 = major, r5 = minor of the device asked for; 1 allows.
std::vector<bpf_insn> DeviceProgram() {
  std::vector<bpf_insn> program = {
      LoadField(BPF_REG_2, offsetof(bpf_cgroup_dev_ctx, access_type)),
      Instruction(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0),
      Instruction(BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff),
      Instruction(BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16),
      LoadField(BPF_REG_4, offsetof(bpf_cgroup_dev_ctx, major)),
      LoadField(BPF_REG_5, offsetof(bpf_cgroup_dev_ctx, minor)),
      JumpUnlessEqual(BPF_REG_3, BPF_DEVCG_ACC_MKNOD, 2),
      LoadImmediate(BPF_REG_0, 1),
      Exit(),
      Instruction(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_2, 0, 2, BPF_DEVCG_DEV_CHAR),
      LoadImmediate(BPF_REG_0, 0),
      Exit(),
  };
  for (const AllowedDevice& device : kAllowed) {
    program.push_back(JumpUnlessEqual(BPF_REG_4, device.major, device.minor < 0 ? 2 : 3));
    if (device.minor >= 0) program.push_back(JumpUnlessEqual(BPF_REG_5, device.minor, 2));
    program.push_back(LoadImmediate(BPF_REG_0, 1));
    program.push_back(Exit());
  }
  program.push_back(LoadImmediate(BPF_REG_0, 0));
  program.push_back(Exit());
  return program;
}

long Bpf(int command, bpf_attr& attributes) { return syscall(SYS_bpf, command, &attributes, sizeof attributes); }

}  // namespace

Status AttachDeviceFilter(int cgroup_fd) {
  std::vector<bpf_insn> program = DeviceProgram();
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

Status LimitDevicesV1(const std::string& folder) {
  STARLING_TRY(fs::WriteControl(folder + "/devices.deny", "a"));
  STARLING_TRY(fs::WriteControl(folder + "/devices.allow", "c *:* m"));
  STARLING_TRY(fs::WriteControl(folder + "/devices.allow", "b *:* m"));
  for (const AllowedDevice& device : kAllowed) {
    std::string minor = device.minor < 0 ? "*" : std::to_string(device.minor);
    STARLING_TRY(fs::WriteControl(folder + "/devices.allow", "c " + std::to_string(device.major) + ":" + minor + " rwm"));
  }
  return {};
}

}  // namespace starling::cgroup
