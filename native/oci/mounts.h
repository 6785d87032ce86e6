// The mounts of config.json. Sources of binds are cloned by the runtime, with the host's rights and in the host's mount
// namespace; everything is attached by the container's init, below the root's descriptor, before it pivots.
//
// Targets are resolved once, inside the root (openat2 RESOLVE_IN_ROOT), and used by descriptor from then on: a link that
// another container puts there meanwhile leads nowhere (CVE-2021-30465, CVE-2025-52565).
#pragma once

#include <string>
#include <vector>

#include "../base/result.h"
#include "../cgroup/cgroup.h"
#include "../sys/unique_fd.h"
#include "config.h"

namespace starling::oci {

// One entry a mount of the config: the detached copy of a bind's source, with its attributes set; invalid for others.
struct Sources {
  std::vector<UniqueFd> trees;
  // The root's folder with what is mounted below it.
  UniqueFd root;
  // The host's /dev/null, where paths are to be masked: what lies at /dev/null in the container may be anything
  // (CVE-2025-31133).
  UniqueFd null_device;
};

// REQUIRES: the host's mount namespace.
Result<Sources> CloneSources(const Config& config);

// Opens `path` below `root` with O_PATH; links are followed inside the root only. Missing folders, or a file at the end,
// are made.
Result<UniqueFd> OpenBelow(int root, const std::string& path, bool as_file, bool make);

// Attaches all in their order. REQUIRES: own mount namespace, the host's /proc.
Status MountAll(const Config& config, const cgroup::Cgroup& cgroup, Sources& sources, int root);

}  // namespace starling::oci
