// linux.seccomp: a filter of system calls, compiled by libseccomp, which knows calls and architectures by name.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../base/json.h"
#include "../base/result.h"

namespace starling::oci {

struct SeccompArgument {
  uint32_t index = 0;
  uint64_t value = 0;
  uint64_t value_two = 0;
  // SCMP_CMP_…
  int operation = 0;
};

struct SeccompRule {
  std::vector<std::string> names;
  // SCMP_ACT_…
  uint32_t action = 0;
  std::vector<SeccompArgument> arguments;
};

struct SeccompConfig {
  uint32_t default_action = 0;
  std::vector<uint32_t> architectures;
  // SECCOMP_FILTER_FLAG_…
  uint64_t flags = 0;
  std::string listener_path;
  std::string listener_metadata;
  std::vector<SeccompRule> rules;
  bool notifies = false;
};

SeccompConfig ReadSeccomp(const json::Reader& reader);

// The program for seccomp(2). Calls that this libseccomp does not know are left out, as other runtimes do: profiles
// name calls of newer kernels.
Result<std::vector<sock_filter>> CompileSeccomp(const SeccompConfig& config);

}  // namespace starling::oci
