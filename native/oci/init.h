// The container's init, from clone3 to execve.
#pragma once

#include "../cgroup/cgroup.h"
#include "config.h"
#include "mounts.h"
#include "process.h"
#include "store.h"

namespace starling::oci {

struct InitInput {
  const Config& config;
  const cgroup::Cgroup& cgroup;
  Sources& sources;
  Launch& launch;
  // For the hooks' state; its pid is not known yet.
  Record record;
  // Sync socket to the runtime.
  int sync = -1;
  // Socket that listens for `start`.
  int listener = -1;
};

// What the child of clone3 becomes.
[[noreturn]] void RunInit(InitInput input);

// Namespaces of the config with a path: joined by a helper before the init is made, the user namespace last.
Status JoinNamespaces(const Config& config);

// Tells the runtime and ends.
[[noreturn]] void FailInit(int sync, const Error& error);

}  // namespace starling::oci
