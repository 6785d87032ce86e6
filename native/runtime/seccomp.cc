#include "seccomp.h"

#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

namespace starling {

std::vector<sock_filter> SeccompProgram(const std::string& bytes) {
  std::vector<sock_filter> program(bytes.size() / sizeof(sock_filter));
  if (!program.empty()) std::memcpy(program.data(), bytes.data(), program.size() * sizeof(sock_filter));
  return program;
}

Status LoadSeccomp(std::vector<sock_filter>& program) {
  sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter) == 0) return {};
  if (errno == EINVAL && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0) return {};
  return Error::Errno("seccomp", "load filter");
}

}  // namespace starling
