// Locks this process in before it reads foreign bytes: first Isolate, then threads are started, then LockDown.
#pragma once

#include <string>
#include <vector>

#include "../base/result.h"
#include "../sys/unique_fd.h"

namespace starling {

// New mount, network, IPC and UTS namespaces; limits of memory and descriptors; the process dies with its parent.
// Descriptors opened before stay usable.
Status Isolate();

// A read-only view of `lowers` (topmost first), merged as overlayfs does it. `folder` serves as mount point, in the own
// mount namespace only. REQUIRES: Isolate.
Result<UniqueFd> MergeLowers(const std::vector<std::string>& lowers, const std::string& folder);

// `folder` becomes the root; capabilities reduced to those that writing files of any owner takes. Threads started after
// this have no more.
Status EnterFolder(const UniqueFd& folder);

// A filter ends the process, all its threads, at any system call that unpacking does not need.
Status LockDown();

}  // namespace starling
