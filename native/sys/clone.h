// clone3 as a fork: the child goes on with a copy of this memory. The callers are single-threaded programs (shim and
// tools), so the child may use all of libc.
#pragma once

#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>

#include <csignal>
#include <cstring>

#include "../base/result.h"
#include "unique_fd.h"

namespace starling {

struct CloneOptions {
  // CLONE_NEW… and CLONE_PARENT flags.
  uint64_t flags = 0;
  // Folder of a cgroup v2 group in which the child starts (kernel ≥ 5.7); -1: the parent's group.
  int cgroup_fd = -1;
};

struct Cloned {
  // 0 in the child.
  pid_t pid = 0;
  // Refers to the child; valid in the parent only.
  UniqueFd pidfd;
};

inline Result<Cloned> Clone(const CloneOptions& options) {
  int pidfd = -1;
  clone_args args;
  std::memset(&args, 0, sizeof args);
  args.flags = options.flags | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  // With CLONE_PARENT the signal is the one this process was made with, and naming another is EINVAL.
  args.exit_signal = (options.flags & CLONE_PARENT) != 0 ? 0 : SIGCHLD;
  if (options.cgroup_fd >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(options.cgroup_fd);
  }
  long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) return Error::Errno("clone3", "");
  Cloned cloned;
  cloned.pid = static_cast<pid_t>(pid);
  if (pid > 0) cloned.pidfd.reset(pidfd);
  return cloned;
}

}  // namespace starling
