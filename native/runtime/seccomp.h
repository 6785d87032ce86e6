// The system call filter of containers: what Docker's default profile lets through is let through, the rest answers
// EPERM, and calls newer than this table ENOSYS, so that programs fall back. A classic BPF program, made for the
// capabilities of the container: a call that a capability unlocks is unlocked with it.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <vector>

#include "../base/result.h"

namespace starling {

std::vector<sock_filter> SeccompProgram(uint64_t capabilities);

// Loads `program` for the calling thread. REQUIRES: CAP_SYS_ADMIN or no_new_privs.
Status LoadSeccomp(std::vector<sock_filter>& program);

}  // namespace starling
