// The container's root folder around its mounts: made a mount of its own, furnished with devices, entered, protected.
#pragma once

#include "../base/result.h"
#include "../sys/unique_fd.h"
#include "config.h"
#include "mounts.h"

namespace starling::oci {

// First step in the new mount namespace: nothing goes back to the host, and `tree`, the root's detached copy, is attached
// where its folder is. It is used by descriptor from then on.
Status AttachRoot(const Config& config, const UniqueFd& tree);

// Default devices, those of the config and the usual links.
Status MakeDevices(const Config& config, int root, bool in_user_namespace);

// pivot_root.
Status Pivot(int root);

// After the pivot: masks, read-only paths, propagation and the root's own read-only flag.
Status Protect(const Config& config, UniqueFd null_device);

// Through the host's /proc, before the pivot: what the image has at /proc plays no part (CVE-2025-52881).
Status WriteSysctls(const Config& config);

}  // namespace starling::oci
