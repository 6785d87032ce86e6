// User and group id mappings: of a user namespace, and of a mount.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "../base/result.h"
#include "unique_fd.h"

namespace starling {

struct IdMapping {
  uint32_t container = 0;
  uint32_t host = 0;
  uint32_t size = 0;
};

struct IdMaps {
  std::vector<IdMapping> uids;
  std::vector<IdMapping> gids;
  bool empty() const { return uids.empty(); }
};

// The host's number of `id`; `id` itself when nothing maps it.
uint32_t HostId(const std::vector<IdMapping>& mappings, uint32_t id);

// Writes the maps of the new user namespace that `pid` is in. REQUIRES: CAP_SETUID and CAP_SETGID in this one.
Status WriteIdMaps(pid_t pid, const IdMaps& maps);

// A user namespace with these maps and no process in it: mounts take their mapping from one.
Result<UniqueFd> MakeUserNamespace(const IdMaps& maps);

// Maps the owners that are seen through the detached mount `tree` (kernel ≥ 5.12, and a file system that takes part).
Status MapIds(int tree, const UniqueFd& user_namespace, bool recursive);

// Root of the user namespace, so that what is made from here on belongs to it. REQUIRES: its maps are written.
Status BecomeMappedRoot();

}  // namespace starling
