// The last stretch before the program of an OCI process object.
#pragma once

#include <linux/filter.h>

#include <string>
#include <vector>

#include "../base/result.h"
#include "config.h"

namespace starling::oci {

struct Launch {
  Process process;
  // Path for execve.
  std::string program;
  std::vector<sock_filter> filter;
  // SECCOMP_FILTER_FLAG_…
  uint64_t filter_flags = 0;
  bool notifies = false;
  // The terminal's slave, -1: stdin, stdout and stderr are this process's.
  int terminal = -1;
  std::optional<unsigned long> personality;
  // Descriptors 3 … that the program gets.
  unsigned preserved_fds = 0;
};

// What needs the host's /proc: OOM score. Before the container's root is entered.
Status ApplyOnHost(const Process& process);

// Goes to the working folder and finds the program. Security labels are written, if there are any. REQUIRES: the
// container's root is this process's root.
Status Locate(Launch& launch);

// Becomes the program. Returns only on failure. `socket`: gets the notification descriptor ("N"), if there is one.
Error Become(const Launch& launch, int socket);

}  // namespace starling::oci
