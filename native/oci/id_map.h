// User and group id mappings: of a user namespace, and of a mount.
#pragma once

#include <sys/types.h>

#include <vector>

#include "../base/result.h"
#include "config.h"

namespace starling::oci {

// Writes the maps of the new user namespace that `pid` is in. REQUIRES: CAP_SETUID and CAP_SETGID in this one.
Status WriteIdMaps(pid_t pid, const std::vector<IdMapping>& uids, const std::vector<IdMapping>& gids);

// Maps the owners that are seen through the detached mount `tree` (kernel ≥ 5.12).
Status MapIds(int tree, const std::vector<IdMapping>& uids, const std::vector<IdMapping>& gids, bool recursive);

}  // namespace starling::oci
