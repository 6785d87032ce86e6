// The system call filter of a container: a classic BPF program, made by who wrote the spec.
#pragma once

#include <linux/filter.h>

#include <string>
#include <vector>

#include "../base/result.h"

namespace starling {

// `bytes`: `struct sock_filter`s as they lie in memory.
std::vector<sock_filter> SeccompProgram(const std::string& bytes);

// Loads `program` for the calling thread. REQUIRES: CAP_SYS_ADMIN or no_new_privs.
Status LoadSeccomp(std::vector<sock_filter>& program);

}  // namespace starling
