// Locks this process in before it reads foreign bytes.
#pragma once

#include "../base/result.h"
#include "../sys/unique_fd.h"

namespace starling {

// New mount, network, IPC and UTS namespaces; `folder` becomes the root; capabilities reduced to those that writing
// files of any owner takes; a filter ends the process at any system call that this does not need.
// Descriptors opened before stay usable.
Status EnterSandbox(const UniqueFd& folder);

}  // namespace starling
