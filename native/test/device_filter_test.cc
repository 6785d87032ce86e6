#include "../cgroup/device_filter.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <random>

#include "check.h"

namespace starling::cgroup {
namespace {

struct Request {
  uint32_t type;
  uint32_t access;
  uint32_t major;
  uint32_t minor;
};

// The rules by the book: the last that speaks counts.
bool Allowed(const std::vector<DeviceAccess>& rules, const Request& request) {
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    if (rule->type != 0 && static_cast<uint32_t>(rule->type) != request.type) continue;
    if (rule->major >= 0 && static_cast<uint32_t>(rule->major) != request.major) continue;
    if (rule->minor >= 0 && static_cast<uint32_t>(rule->minor) != request.minor) continue;
    uint32_t access = static_cast<uint32_t>(rule->access);
    if (rule->allow ? (request.access & ~access) == 0 : (request.access & access) != 0) return rule->allow;
  }
  return false;
}

// What the kernel would make of the few instructions that such programs have; -1: another one, or no end.
int Run(const std::vector<bpf_insn>& program, const Request& request) {
  bpf_cgroup_dev_ctx context = {request.access << 16 | request.type, request.major, request.minor};
  uint64_t registers[11] = {};
  for (size_t at = 0, steps = 0; at < program.size() && steps < 10'000; steps++) {
    const bpf_insn& i = program[at++];
    uint64_t& to = registers[i.dst_reg];
    switch (i.code) {
      case BPF_LDX | BPF_MEM | BPF_W: {
        uint32_t word;
        std::memcpy(&word, reinterpret_cast<const char*>(&context) + i.off, sizeof word);
        to = word;
        break;
      }
      case BPF_ALU64 | BPF_MOV | BPF_X: to = registers[i.src_reg]; break;
      case BPF_ALU64 | BPF_MOV | BPF_K: to = static_cast<uint64_t>(int64_t{i.imm}); break;
      case BPF_ALU64 | BPF_AND | BPF_K: to &= static_cast<uint64_t>(int64_t{i.imm}); break;
      case BPF_ALU64 | BPF_RSH | BPF_K: to >>= i.imm; break;
      case BPF_JMP32 | BPF_JEQ | BPF_K: at += static_cast<uint32_t>(to) == static_cast<uint32_t>(i.imm) ? static_cast<size_t>(i.off) : 0; break;
      case BPF_JMP32 | BPF_JNE | BPF_K: at += static_cast<uint32_t>(to) != static_cast<uint32_t>(i.imm) ? static_cast<size_t>(i.off) : 0; break;
      case BPF_JMP | BPF_EXIT: return static_cast<int>(registers[0]);
      default: return -1;
    }
  }
  return -1;
}

bool IsLoadable(const std::vector<bpf_insn>& program) {
  bpf_attr load;
  std::memset(&load, 0, sizeof load);
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insns = reinterpret_cast<uint64_t>(program.data());
  load.insn_cnt = static_cast<__u32>(program.size());
  load.license = reinterpret_cast<uint64_t>("Apache-2.0");
  long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
  if (fd >= 0) close(static_cast<int>(fd));
  return fd >= 0;
}

// Few values, so that rules meet each other and the requests; numbers above 2^31 among them.
constexpr int64_t kNumbers[] = {-1, 0, 1, 2, 0xffffffff};

TEST(device_programs_decide_as_their_rules) {
  std::mt19937 random(20240607);
  auto below = [&](uint32_t end) { return static_cast<uint32_t>(random()) % end; };
  for (int round = 0; round < 500; round++) {
    std::vector<DeviceAccess> rules(below(8));
    for (DeviceAccess& rule : rules) {
      rule = {below(2) == 1, static_cast<int>(below(3)), kNumbers[below(5)], kNumbers[below(5)], static_cast<int>(below(8))};
    }
    std::vector<bpf_insn> program = DeviceProgram(rules);
    if (round % 10 == 0) CHECK(IsLoadable(program));
    for (uint32_t type : {BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR}) {
      for (uint32_t access = 0; access < 8; access++) {
        for (int64_t major : {0, 1, 7}) {
          for (int64_t minor : {int64_t{0}, int64_t{2}, int64_t{0xffffffff}}) {
            Request request = {type, access, static_cast<uint32_t>(major), static_cast<uint32_t>(minor)};
            CHECK_EQ(Run(program, request), Allowed(rules, request) ? 1 : 0);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace starling::cgroup
