// A mount of type `cgroup`: the container's view of its groups.
#pragma once

#include "../base/result.h"
#include "../cgroup/cgroup.h"
#include "config.h"

namespace starling::oci {

// v2 alone: one mount. Else a tmpfs with a folder a hierarchy. With a cgroup namespace of its own the container sees its
// group as the root of each; without, its group is bound there.
Status MountCgroups(const Mount& mount, const cgroup::Cgroup& cgroup, int root, bool own_namespace);

}  // namespace starling::oci
